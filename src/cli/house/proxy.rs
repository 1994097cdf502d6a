//! A link that can be cut, stopped and slowed: TCP on loopback, passed on byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Bytes that are passed on at once.
const PIECE: usize = 16 * 1024;

/// Connections at once; more wait to be taken.
const CONNECTIONS_MAX: usize = 512;

/// How a link is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It passes everything on.
    Whole,
    /// It breaks whatever runs, and takes nothing new.
    Cut,
    /// It passes nothing on, and says nothing.
    Silent,
    /// It passes each piece on so much later.
    Slow(Duration),
}

/// A link. It ends when this is dropped.
pub struct Link {
    /// Where it listens.
    pub at: SocketAddr,
    mood: watch::Sender<Mood>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link to `target`, on a port of its own.
    pub async fn to(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        let (mood, seen) = watch::channel(Mood::Whole);
        let task = tokio::spawn(accept(listener, target, seen));
        Ok(Self { at, mood, task })
    }

    /// From now on it is so.
    pub fn be(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, mood: watch::Receiver<Mood>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((near, _)) = listener.accept().await else { continue };
        if *mood.borrow() == Mood::Cut {
            continue;
        }
        let mood = mood.clone();
        tokio::spawn(async move {
            if let Ok(far) = TcpStream::connect(target).await {
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::select! {
                    () = pass(near_in, far_out, mood.clone()) => {}
                    () = pass(far_in, near_out, mood.clone()) => {}
                    () = cut(mood) => {}
                }
            }
            drop(place);
        });
    }
}

async fn cut(mut mood: watch::Receiver<Mood>) {
    // The link's end is the end of whatever runs through it.
    let _ = mood.wait_for(|mood| *mood == Mood::Cut).await;
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut mood: watch::Receiver<Mood>,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(len) = from.read(&mut piece).await {
        if len == 0 || mood.wait_for(|mood| *mood != Mood::Silent).await.is_err() {
            return;
        }
        let now = *mood.borrow();
        if let Mood::Slow(wait) = now {
            tokio::time::sleep(wait).await;
        }
        let Some(read) = piece.get(..len) else { return };
        if to.write_all(read).await.is_err() {
            return;
        }
    }
}
