//! What strace wrote down: writes, syncs and answers, in the order in which they happened.

use std::collections::HashMap;
use std::path::Path;

/// The folder itself, as a file that can be synced: then what was removed from it is gone.
pub const FOLDER: &str = ".";

/// One thing that the process did, as far as its disk is concerned.
#[derive(Clone, Debug)]
pub enum Step {
    /// It wrote: from now on the bytes may be on the disk.
    Write { file: String, at: usize, bytes: Vec<u8> },
    /// It cut a file, or made it longer.
    Length { file: String, len: usize, shrink: bool },
    /// It removed a file.
    Remove { file: String },
    /// It began to sync: what was written before is what the sync is for.
    Syncs { call: u64 },
    /// The sync came back: what it was for is on the disk.
    Synced { file: String, call: u64 },
    /// It told somebody that the entry of this number is durable.
    Answered { entry: u64 },
}

/// Reads the record of a process whose journal is in `home`.
pub fn read_trace(record: &str, home: &Path) -> Vec<Step> {
    let home = format!("{}/", home.canonicalize().unwrap().display());
    let mut reader =
        Reader { home, steps: Vec::new(), places: HashMap::new(), open: HashMap::new() };
    for line in record.lines() {
        reader.read(line);
    }
    reader.steps
}

struct Reader {
    home: String,
    steps: Vec<Step>,
    /// Where each descriptor stands, for programs that seek and write.
    places: HashMap<u64, usize>,
    /// Syncs that have not come back, by thread.
    open: HashMap<String, (String, u64)>,
}

impl Reader {
    fn read(&mut self, line: &str) {
        let Some((thread, call)) = line.split_once(' ') else { return };
        let call = call.trim_start();
        if call.starts_with("<... f") && call.contains("sync resumed") {
            if let Some((file, call)) = self.open.remove(thread) {
                self.steps.push(Step::Synced { file, call });
            }
            return;
        }
        let Some((name, rest)) = call.split_once('(') else { return };
        match name {
            "write" | "pwrite64" => self.write(name, rest),
            "lseek" => self.seek(rest),
            "ftruncate" => self.truncate(rest),
            "fallocate" => self.allocate(rest),
            "fsync" | "fdatasync" => self.sync(thread, rest),
            "unlink" => self.unlink(rest),
            _ => {}
        }
    }

    /// The descriptor and the file's name within the home, of `7<path>, …`, whose path is
    /// in hexadecimal too.
    fn file(&self, rest: &str) -> Option<(u64, String)> {
        let (descriptor, rest) = rest.split_once('<')?;
        let (path, _) = rest.split_once('>')?;
        let path = String::from_utf8(unescape(path)).ok()?;
        let name =
            if format!("{path}/") == self.home { FOLDER } else { path.strip_prefix(&self.home)? };
        Some((descriptor.parse().ok()?, name.to_owned()))
    }

    fn write(&mut self, name: &str, rest: &str) {
        let Some((descriptor, file)) = self.file(rest) else { return };
        let mut quoted = rest.split('"');
        let bytes = unescape(quoted.nth(1).expect("a write has its bytes"));
        if file == "answers" {
            let text = String::from_utf8(bytes).expect("answers are text");
            let entry = text.trim().parse().expect("an answer is an entry's number");
            self.steps.push(Step::Answered { entry });
            return;
        }
        let after = numbers(quoted.next().expect("a write ends"));
        assert_eq!(after[0], bytes.len(), "strace wrote every byte down");
        let at = if name == "pwrite64" {
            after[1]
        } else {
            let place = self.places.entry(descriptor).or_default();
            let at = *place;
            *place += bytes.len();
            at
        };
        self.steps.push(Step::Write { file, at, bytes });
    }

    fn seek(&mut self, rest: &str) {
        if let Some((descriptor, _)) = self.file(rest)
            && let Some((_, result)) = rest.rsplit_once("= ")
        {
            self.places.insert(descriptor, result.trim().parse().expect("a seek says where it is"));
        }
    }

    fn truncate(&mut self, rest: &str) {
        if let Some((_, file)) = self.file(rest) {
            let len = numbers(rest.split_once('>').expect("its name ends").1)[0];
            self.steps.push(Step::Length { file, len, shrink: true });
        }
    }

    fn allocate(&mut self, rest: &str) {
        if let Some((_, file)) = self.file(rest) {
            let said = numbers(rest.split_once('>').expect("its name ends").1);
            let len = said[said.len().min(3) - 2] + said[said.len().min(3) - 1];
            self.steps.push(Step::Length { file, len, shrink: false });
        }
    }

    fn sync(&mut self, thread: &str, rest: &str) {
        let Some((_, file)) = self.file(rest) else { return };
        let call = self.steps.len() as u64;
        self.steps.push(Step::Syncs { call });
        if rest.contains("<unfinished") {
            self.open.insert(thread.to_owned(), (file, call));
        } else if rest.trim_end().ends_with("= 0") {
            self.steps.push(Step::Synced { file, call });
        }
    }

    fn unlink(&mut self, rest: &str) {
        let path = rest.split('"').nth(1).map(unescape).expect("what is removed has a name");
        let path = String::from_utf8(path).expect("paths are text here");
        if let Some(name) = path.strip_prefix(&self.home) {
            self.steps.push(Step::Remove { file: name.to_owned() });
        }
    }
}

/// `\x6a\x6f…` as bytes.
fn unescape(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits
        .map(|digits| u8::from_str_radix(digits, 16).expect("bytes come in hexadecimal"))
        .collect()
}

/// The numbers of `, 24, 0) = 24`, up to the closing bracket.
fn numbers(text: &str) -> Vec<usize> {
    let inside = text.split([')', '<']).next().unwrap_or_default();
    inside.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}
