//! Every bound of the gRPC doors, by name. A bound that is not here does not exist.

use std::time::Duration;

/// Largest message that a server takes or a client sends, in bytes: a body of a
/// mebibyte and what comes with it.
pub(crate) const REQUEST_LEN_MAX: usize = 1024 * 1024 + 64 * 1024;

/// Largest message that a server sends or a client takes, in bytes: a whole answer or a page.
pub(crate) const RESPONSE_LEN_MAX: usize = 4 * 1024 * 1024;

/// Largest answer that [`InferResponse`](super::pb::InferResponse) carries whole; a longer one has
/// to be streamed. The rest of the message fits beside it.
pub(crate) const WHOLE_ANSWER_LEN_MAX: usize = RESPONSE_LEN_MAX - 64 * 1024;

/// Most metadata that either side takes, in bytes as HTTP/2 counts them.
pub(crate) const METADATA_LEN_MAX: u32 = 16 * 1024;

/// Longest `payment-signature` that is read, in base64 characters.
pub(crate) const PAYMENT_TEXT_MAX: usize = 8 * 1024;

/// Longest offer that the status message repeats, in base64 characters. Clients that know nothing of
/// trailers read it there; a longer one would count twice against their metadata limit.
pub(crate) const OFFER_IN_MESSAGE_MAX: usize = 1536;

/// Longest offer that the trailer `payment-required` carries, in base64 characters; a longer one
/// travels in `payment-required-bin` alone. With the message it stays within the 8 KiB of metadata
/// that clients commonly take.
pub(crate) const OFFER_TEXT_MAX: usize = 4 * 1024;

/// Longest offer that is sent or read at all, in bytes of JSON. Source: grpc/grpc#37852.
pub(crate) const OFFER_LEN_MAX: usize = 8 * 1024;

/// Longest `payment-response`, in base64 characters.
pub(crate) const SETTLEMENT_TEXT_MAX: usize = 4 * 1024;

/// Longest content type, model description or status text, in bytes.
pub(crate) const TEXT_LEN_MAX: usize = 512;

/// Longest endpoint, in bytes.
pub(crate) const ENDPOINT_LEN_MAX: usize = 1024;

/// Most ways to pay in one quote or listing.
pub(crate) const PAY_BY_MAX: usize = 16;

/// Most networks in one query.
pub(crate) const NETWORKS_MAX: usize = 16;

/// Most items in one page of anything.
pub(crate) const PAGE_SIZE_MAX: usize = 100;

/// Most pages that a client asks for in one search.
pub(crate) const PAGES_MAX: usize = 16;

/// Streams that one connection may have open.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// Streams reset before they were accepted, after which a connection is dropped.
/// Source: CVE-2023-44487.
pub(crate) const PENDING_RESET_STREAMS_MAX: usize = 20;

/// Streams reset for the peer's own errors, after which a connection is dropped.
pub(crate) const LOCAL_ERROR_RESET_STREAMS_MAX: usize = 64;

/// Connections that one listener holds open.
pub(crate) const CONNECTIONS_MAX: usize = 1024;

/// Connections that one listener holds open of one host: a quarter, so that no one of them keeps the others out.
/// This machine's own are not counted apart. A gateway in front is one host.
pub(crate) const CONNECTIONS_PER_HOST_MAX: usize = 256;

/// How long a new connection may take until its first request is whole.
pub(crate) const FIRST_REQUEST_MAX: Duration = Duration::from_secs(10);

/// How long a peer may take nothing of what it is answered, where something waits for it.
pub(crate) const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// How long TLS may take to shake hands.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How long the head of an HTTP/1.1 request may take, the wait for the next one included.
pub(crate) const HEAD_MAX: Duration = Duration::from_secs(30);

/// Most headers of an HTTP/1.1 request; a request with more gets 431.
pub(crate) const HEADERS_MAX: usize = 100;

/// Most that is buffered of an HTTP/1.1 connection, in bytes; a longer head gets 431.
pub(crate) const HEAD_LEN_MAX: usize = 64 * 1024;

/// How often an idle connection is asked whether it lives.
pub(crate) const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);

/// How long it may take to answer that.
pub(crate) const KEEPALIVE_MAX: Duration = Duration::from_secs(20);

/// How long a client tries to connect.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long a client waits for a quote or a directory's answer.
pub(crate) const ASK_MAX: Duration = Duration::from_secs(10);

/// How long a client waits for the head of a paid answer. Settling comes before it.
pub(crate) const ANSWER_BEGIN_MAX: Duration = Duration::from_secs(120);

/// How long a client waits for the next piece of a streamed answer.
pub(crate) const ANSWER_PIECE_MAX: Duration = Duration::from_secs(60);

/// Connections that a client opens to one provider: one alone loses throughput on several threads.
pub(crate) const CONNECTIONS_PER_PROVIDER: usize = 4;

/// Providers that a client stays connected to; the one unused for longest makes room.
pub(crate) const PROVIDERS_CONNECTED_MAX: usize = 256;

/// Longest answer that a client reads as a stream, in bytes.
pub(crate) const STREAMED_ANSWER_LEN_MAX: usize = 64 * 1024 * 1024;

/// Largest policy document that the operator's door takes, in bytes.
pub(crate) const DOCUMENT_LEN_MAX: usize = 4 * 1024 * 1024;
