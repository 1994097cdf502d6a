//! A process of ours that is started, killed, stopped for a while, and started again.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use super::super::exit::Exit;
use super::super::failure::Failure;

/// How long a process may take to say that it is ready: a payee settles what it left open first.
const READY_MAX: Duration = Duration::from_secs(180);

/// How long a process may take to end once it was asked to.
const END_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A process, running or not.
pub struct Part {
    name: &'static str,
    words: Vec<String>,
    folder: PathBuf,
    running: Option<(Child, ChildStdout)>,
    /// How often it was started.
    pub starts: u64,
}

impl Part {
    /// The process that these words of the command line start, in `folder`.
    pub fn new(name: &'static str, folder: &Path, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { name, words, folder: folder.to_owned(), running: None, starts: 0 }
    }

    /// Starts it, with a few more words, and gives what it says when it is ready.
    pub async fn start(&mut self, more: &[&str]) -> Result<Value, Failure> {
        let failed = |problem: std::io::Error| {
            Failure::new(Exit::Failed, "house.system", format!("{}: {problem}", self.name))
        };
        let log = self.folder.join(format!("{}.log", self.name));
        let log = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
        // A file that may not grow is to be an error of the write, and not the process's end.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().map_err(failed)?)
            .args(&self.words)
            .args(more)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().expect("standard output was asked for");
        let said = tokio::task::spawn_blocking(move || {
            let mut stdout = stdout;
            let said = serde_json::Deserializer::from_reader(&mut stdout).into_iter().next();
            (said, stdout)
        });
        let said = tokio::time::timeout(READY_MAX, said).await;
        self.starts = self.starts.saturating_add(1);
        match said {
            Ok(Ok((Some(Ok(said)), stdout))) => {
                self.running = Some((child, stdout));
                Ok(said)
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                let message = format!("{} did not start: see {}.log", self.name, self.name);
                Err(Failure::new(Exit::Failed, "house.not_started", message))
            }
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        let ended = match &mut self.running {
            Some((child, _)) => !matches!(child.try_wait(), Ok(None)),
            None => return false,
        };
        if ended {
            self.running = None;
        }
        !ended
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and waits. Whether it ended well.
    pub async fn end(&mut self) -> bool {
        self.signal(Signal::TERM);
        let until = SystemClock.now().after(END_MAX);
        while self.is_alive() {
            if SystemClock.now() >= until {
                self.kill();
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let ended = self.running.take();
        ended.is_some_and(|(mut child, _)| child.wait().is_ok_and(|status| status.success()))
    }

    fn is_alive(&mut self) -> bool {
        let running = self.running.as_mut();
        running.is_some_and(|(child, _)| matches!(child.try_wait(), Ok(None)))
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may have ended a moment ago.
            let _ = kill_process(pid, signal);
        }
    }

    /// No file of it may be longer than so many bytes; `None` lifts that. Whether the system did so.
    pub fn bound_files(&self, bytes: Option<u64>) -> bool {
        let limit = Rlimit { current: bytes, maximum: None };
        self.pid().is_some_and(|pid| prlimit(Some(pid), Resource::Fsize, limit).is_ok())
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Which process it is, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        let (child, _) = self.running.as_ref()?;
        Pid::from_raw(i32::try_from(child.id()).ok()?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of loopback that nobody has just now. A process that comes back has to come back there.
pub fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
