//! Which requests are for which route, held against axum's own router.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

#[test]
fn no_spelling_of_a_paid_path_is_another_path() {
    let is_for = |paid: &PaidRoute, path: &str| {
        paid.is_just_for(path) || forms(path).iter().any(|form| paid.is_for(form))
    };
    let paid = PaidRoute::new(Method::GET, "/paid/{city}", Amount::new(1));
    for path in [
        "/paid/rome",
        "/paid/rome/",
        "//paid///rome",
        "/PAID/rome",
        "/%70aid/rome",
        "/%2570aid/rome",
        "/paid/%",
        "/paid/%zz",
        "/paid/%ff",
        "/free/../paid/rome",
        "/free/%2e%2e/paid/rome",
        "/./paid/rome",
        "/paid%2frome",
        "/paid\\rome",
        "/paid/rome/.",
        "/paid/rome%2Foslo",
        "/paid/rome%5Coslo",
        "/paid/rome%252Foslo/",
        "/paid/..",
        "/paid/%2e%2e",
        "/paid/.",
    ] {
        assert!(is_for(&paid, path), "{path}");
    }
    for path in ["/paid", "/paid/", "/paid/rome/today", "/free", "/", "/paids/rome"] {
        assert!(!is_for(&paid, path), "{path}");
    }
    let all = PaidRoute::new(Method::GET, "/all/{*rest}", Amount::new(1));
    for path in ["/all", "/all/a", "/all/a/b/c", "/all/%2e%2e/x"] {
        assert!(is_for(&all, path), "{path}");
    }
    let user = PaidRoute::new(Method::GET, "/user_{name}", Amount::new(1));
    assert!(is_for(&user, "/user_ann") && user.is_just_for("/user_ann"));
    assert!(!user.is_just_for("/user_") && !user.is_just_for("/USER_ann"));
    assert_eq!(paid.template().as_deref(), Some("/paid/:city"));
    assert_eq!(paid.name.as_str(), "GET:paid..city.");
}

#[test]
fn a_path_is_priced_as_the_route_whose_handler_runs() {
    let route = |pattern| PaidRoute::new(Method::GET, pattern, Amount::new(1));
    let routes = ["/{*rest}", "/w/{city}", "/w/all", "/w/all_{of}", "/w/all/"];
    let routes = routes.map(route);
    for (path, pattern) in [
        ("/w/all", "/w/all"),
        ("/w/ALL", "/w/{city}"),
        ("/w/al%6c", "/w/{city}"),
        ("/w/all_rome", "/w/all_{of}"),
        ("/w/all_", "/w/{city}"),
        ("/w/all/", "/w/all/"),
        ("/w/rome/", "/{*rest}"),
        ("/w/rome/today", "/{*rest}"),
        ("/w/", "/{*rest}"),
        ("/x", "/{*rest}"),
    ] {
        let just = routes.iter().filter(|route| route.is_just_for(path));
        let taken = just.min_by(|a, b| a.says_more(b)).map(|route| route.pattern.as_str());
        assert_eq!(taken, Some(pattern), "{path}");
        // What axum's own router takes.
        let mut router = Router::new();
        for route in &routes {
            router = router.route(&route.pattern, get(route.pattern.clone()));
        }
        let request = Request::get(path).body(Body::empty()).unwrap();
        // Nothing here waits.
        let answer = router.oneshot(request).now_or_never().unwrap().unwrap();
        let body = answer.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
        assert_eq!(body, pattern.as_bytes(), "{path}");
    }
}
