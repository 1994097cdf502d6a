//! Over a network by TLS or not at all: one port for gRPC and HTTP, whoever listens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bursar::domain::asset::AssetRegistry;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{
    Address, Doors, Listener, Reach, Secured, ServeError, connect_one, is_public, serve_directory,
};
use bursar::edge::http::client as http;
use bursar::edge::tls::{self, Speaks};
use bursar::runtime::directory::Registry;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::node_commands::{House as Home, Running, endpoint};

const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A certificate for `127.0.0.1` and `localhost`, and its key, in files.
pub fn certified(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let (cert_file, key_file) =
        (folder.join(format!("{name}.crt")), folder.join(format!("{name}.pem")));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    (cert_file, key_file)
}

/// A directory, and a page beside it, on one port.
pub struct House {
    pub at: SocketAddr,
    pub stop: oneshot::Sender<()>,
    pub served: JoinHandle<Result<(), ServeError>>,
}

pub async fn open(listener: Listener) -> House {
    let (Address::Tcp(at) | Address::Tls(at)) = *listener.address() else { unreachable!("TCP") };
    let registry = Registry::new(Arc::new(SystemClock), AssetRegistry::default());
    let web = Router::new().route("/hello", get(|| async { "by HTTP" }));
    let doors = Doors::default().with(serve_directory(Arc::new(registry))).with_web(web);
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let served = tokio::spawn(doors.serve(vec![listener], stopped, DRAIN_MAX));
    House { at, stop, served }
}

fn secured(ca: Option<&Path>, private: bool) -> Reach {
    Reach::Secured(Secured { roots: tls::client(ca, Speaks::Http2).unwrap(), private })
}

pub async fn is_serving(endpoint: &str, reach: Reach) -> bool {
    let Ok(channel) = connect_one(endpoint, reach).await else { return false };
    let request = HealthCheckRequest { service: "bursar.v1.DirectoryService".into() };
    HealthClient::new(channel).check(request).await.is_ok_and(|answer| answer.get_ref().status == 1)
}

#[tokio::test]
async fn one_port_answers_grpc_and_http_by_tls_to_who_believes_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certified(folder.path(), "node");
    let (foreign, _) = certified(folder.path(), "foreign");
    let everywhere = Address::Tls(([0, 0, 0, 0], 0).into());
    let tls = tls::server(&cert, &key).unwrap();
    let listener = Listener::bind_with(&everywhere, "--listen", Some(tls)).await.unwrap();
    let house = open(listener).await;
    let endpoint = format!("https://127.0.0.1:{}", house.at.port());
    assert!(is_serving(&endpoint, secured(Some(&cert), true)).await);
    // Another root, the public web's roots, and no roots at all.
    assert!(!is_serving(&endpoint, secured(Some(&foreign), true)).await);
    assert!(!is_serving(&endpoint, secured(None, true)).await);
    assert!(!is_serving(&endpoint, Reach::Loopback).await);
    // G07: a name that leads to a private address is not called, unless that is allowed.
    assert!(!is_serving(&endpoint, secured(Some(&cert), false)).await);
    // In the clear nobody answers.
    let clear = format!("http://127.0.0.1:{}", house.at.port());
    assert!(!is_serving(&clear, Reach::Loopback).await);

    let client = tls::client(Some(&cert), Speaks::Http).unwrap();
    let mut client = Arc::unwrap_or_clone(client);
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", house.at.port())).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("by HTTP"), "{answer}");
    house.stop.send(()).unwrap();
    house.served.await.unwrap().unwrap();
}

async fn say(at: SocketAddr, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let _ = stream.write_all(words).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn g07_g12_a_host_is_called_by_tls_where_its_certificate_is_believed_and_its_address_allowed()
{
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certified(folder.path(), "node");
    let (foreign, _) = certified(folder.path(), "foreign");
    let here = Address::Tls(([127, 0, 0, 1], 0).into());
    let tls = tls::server(&cert, &key).unwrap();
    let house = open(Listener::bind_with(&here, "--listen", Some(tls)).await.unwrap()).await;
    let client = |ca: Option<&Path>, private| {
        let roots = tls::client(ca, Speaks::Http1).unwrap();
        http::Plain::new(http::Reach::Secured(http::Secured { roots, private }))
    };
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}/hello?x=1", house.at.port());
        let fetched = client(Some(&cert), true).get(&url, 1_000).await.unwrap();
        assert_eq!((fetched.status.as_u16(), fetched.body.as_ref()), (200, &b"by HTTP"[..]));
        assert!(client(Some(&cert), true).get(&url, 3).await.is_err(), "longer than is read");
        assert!(client(Some(&foreign), true).get(&url, 1_000).await.is_err());
        assert!(client(None, true).get(&url, 1_000).await.is_err());
        assert!(client(Some(&cert), false).get(&url, 1_000).await.is_err(), "a private address");
    }
    house.stop.send(()).unwrap();
    house.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn heads_of_http_requests_are_bounded_in_number_and_length() {
    let any = Address::Tcp(([127, 0, 0, 1], 0).into());
    let house = open(Listener::bind(&any, "--listen").await.unwrap()).await;
    let request = |headers: &str| {
        format!("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n").into_bytes()
    };
    assert!(say(house.at, &request("")).await.starts_with("HTTP/1.1 200"));
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert!(say(house.at, &request(&many)).await.starts_with("HTTP/1.1 431"));
    let long = format!("x-long: {}\r\n", "a".repeat(80 * 1024));
    assert!(!say(house.at, &request(&long)).await.starts_with("HTTP/1.1 200"));
    // Row T13: what two parsers would read in two ways is read by none.
    let both = b"POST /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nfree";
    assert!(say(house.at, both).await.starts_with("HTTP/1.1 400"));
    // What is gRPC by its content type finds the services, and nothing of HTTP.
    assert!(is_serving(&format!("http://{}", house.at), Reach::Loopback).await);
    house.stop.send(()).unwrap();
    house.served.await.unwrap().unwrap();
}

#[test]
fn g07_private_addresses_are_known_in_every_spelling() {
    let private = [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2001:0:1::1",
    ];
    for ip in private {
        assert!(!is_public(ip.parse().unwrap()), "{ip}");
    }
    for ip in ["1.1.1.1", "93.184.216.34", "100.63.0.1", "2606:4700::1111", "2a00::1"] {
        assert!(is_public(ip.parse().unwrap()), "{ip}");
    }
}

#[test]
fn a_key_that_cannot_be_read_is_refused_without_a_word_of_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certified(folder.path(), "one");
    let (_, other) = certified(folder.path(), "two");
    assert!(tls::server(&cert, &key).is_ok());
    let swapped = tls::server(&key, &cert).unwrap_err();
    assert!(matches!(swapped, tls::TlsError::Certificate { .. }), "{swapped}");
    let foreign = tls::server(&cert, &other).unwrap_err();
    assert!(matches!(foreign, tls::TlsError::Unfit { .. }), "{foreign}");
    std::fs::write(&other, "secret").unwrap();
    let unread = tls::server(&cert, &other).unwrap_err();
    assert_eq!(unread, tls::TlsError::Key { file: other });
}

#[test]
fn a_node_with_a_certificate_is_reached_by_it_and_its_providers_too() {
    let house = Home::new();
    let (cert, key) = certified(house.path(), "node");
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
    let text = bursar::edge::config::default_sandbox_file();
    let believed = format!("[discovery]\nca = \"{}\"", cert.display());
    let text = text.replacen("[discovery]", &believed, 1);
    let server = format!("{text}\n[server]\nlisten = \"0.0.0.0:0\"\n{tls}\n");
    std::fs::write(house.path().join("bursar.toml"), server).unwrap();
    let node = Running::start(house.path(), &["up", "--metrics", "127.0.0.1:0"]);
    assert!(endpoint(&node).starts_with("https://0.0.0.0:"), "{}", endpoint(&node));
    house.answer(&["agent", "add", "scout-1", "--role", "worker"]);

    let shop = format!(
        "\n[wallet.till]\nkey = \"keystore:till\"\n\n[provider.scribe]\nengine = \"scribe\"\n\
         capability = \"text.generate\"\nmodel = \"bursar-scribe-1\"\nnetwork = \"sandbox\"\n\
         price = {{ call = \"0.001 USD\" }}\npay_to = \"wallet/till\"\nlisten = \"127.0.0.1:0\"\n{tls}\n"
    );
    let provider = house.open_shop(&shop);
    let at = provider.said()[0]["endpoint"].as_str().unwrap();
    assert!(at.starts_with("https://127.0.0.1:"), "{at}");
    // By its root a stranger finds nothing wrong; without it nobody gets that far.
    let ca = cert.display().to_string();
    let probe = ["doctor", "provider", at, "--capability", "text.generate"];
    let (exit, found) = house.report(&[&probe[..], &["--ca", &ca]].concat());
    assert_eq!(exit, 0, "{found}");
    assert_eq!(house.report(&probe).0, 4);
    assert_eq!((provider.stop(), node.stop()), (0, 0));
}
