//! Copies of a journal, and ledgers that are put back from them.

use std::path::{Path, PathBuf};

/// The files of one side's journal in a folder.
fn ledger_files(folder: &Path, whose: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(whose)).collect()
}

/// Copies a ledger whose process has ended.
pub fn copy_ledger(from: &Path, to: &Path, whose: &str) {
    for file in ledger_files(from, whose) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Puts a ledger back from a copy.
pub fn restore_ledger(folder: &Path, copy: &Path, whose: &str) {
    for file in ledger_files(folder, whose) {
        std::fs::remove_file(file).unwrap();
    }
    copy_ledger(copy, folder, whose);
}
