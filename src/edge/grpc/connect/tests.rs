//! Which endpoints may be called.

use super::*;

#[test]
fn o05_only_loopback_and_unix_sockets_are_in_reach_unless_allowed() {
    let both = ["http://127.0.0.1:8403", "http://127.9.9.9:1/", "http://[::1]:8403", "unix:/run/a"];
    let anywhere = ["http://10.0.0.1:80", "http://localhost:80", "http://example.com:80"];
    let never = [
        "",
        "127.0.0.1:8403",
        "https://127.0.0.1:8403",
        "http://127.0.0.1",
        "http://127.0.0.1:1/path",
        "http://127.0.0.1:1/?q",
        "http://127.0.0.1:1@example.com:80",
        "http://user@127.0.0.1:1",
        "ftp://127.0.0.1:1",
        "unix:relative",
        "unix://host/path",
        "http://127.0.0.1:1/\n",
    ];
    for endpoint in both {
        assert!(check_endpoint(endpoint, &Reach::Loopback).is_ok(), "{endpoint}");
        assert!(check_endpoint(endpoint, &Reach::Anywhere).is_ok(), "{endpoint}");
    }
    for endpoint in anywhere {
        assert!(check_endpoint(endpoint, &Reach::Loopback).is_err(), "{endpoint}");
        assert!(check_endpoint(endpoint, &Reach::Anywhere).is_ok(), "{endpoint}");
    }
    for endpoint in never {
        assert!(check_endpoint(endpoint, &Reach::Anywhere).is_err(), "{endpoint}");
    }
}
