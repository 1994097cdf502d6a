//! A client that does next to nothing, because it runs on the cores that are measured: it posts over connections
//! that are kept, and reads answers that say how long they are.

use std::io::{Error, ErrorKind, Result};
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer, in bytes.
const ANSWER_LEN_MAX: usize = 64 * 1024;

/// Posts to one server.
pub struct Client {
    host: String,
    idle: Mutex<Vec<TcpStream>>,
}

impl Client {
    /// Of the server at `http://host:port`.
    pub fn of(url: &str) -> Self {
        let host = url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        Self { host, idle: Mutex::default() }
    }

    /// The answer's body, whatever its status.
    pub async fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let idle = self.idle.lock().unwrap().pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.host).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        let (host, len) = (&self.host, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::with_capacity(1024);
        let (from, until) = loop {
            if answer.len() > ANSWER_LEN_MAX || stream.read_buf(&mut answer).await? == 0 {
                return Err(Error::from(ErrorKind::UnexpectedEof));
            }
            if let Some(place) = place_of(&answer)?
                && answer.len() >= place.1
            {
                break place;
            }
        };
        self.idle.lock().unwrap().push(stream);
        Ok(answer[from..until].to_vec())
    }
}

/// From where to where the body is, once the whole head has come.
fn place_of(answer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| ErrorKind::InvalidData)?;
    let len = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let len: usize = len.ok_or(ErrorKind::InvalidData)?;
    Ok(Some((end + 4, end + 4 + len)))
}
