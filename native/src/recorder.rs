//! `--record FILE`: a thread of its own writes the records of requests that are over, off every request's way.
//!
//! What it has not written yet waits in the gateway's ring of records, which is bounded: if more requests end than the disk
//! takes, the file says how many it lacks. A disk that is full is tried again, and what it has not taken follows.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_core::record::{Header, Line, WRITER_REST};
use tracing::{error, info};

use crate::app::App;

/// Records taken from the gateway at once: it is held up for as long as copying them takes.
const BATCH_MAX: usize = 256;

/// The writer of a file. Dropping it writes what there still is.
pub(crate) struct Recorder {
    /// Closed when it is to end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Opens the file, at whose end a recording begins, and writes from now on.
    pub(crate) fn start(path: &Path, header: Header, app: Arc<App>) -> Result<Self, String> {
        let failed = |error| format!("cannot record to {}: {error}", path.display());
        let mut file = open(path).map_err(failed)?;
        file.write_all(Line::Begin(header).text().as_bytes()).map_err(failed)?;
        let (stop, stopped) = channel();
        let name = path.display().to_string();
        let write = move || write(&mut file, &name, &app, &stopped);
        let thread = std::thread::Builder::new().name("recorder".to_owned()).spawn(write).map_err(failed)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A writer that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Opens a file to write at its end. A line that was cut off there, when the machine died, is ended.
fn open(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn write(file: &mut impl Write, name: &str, app: &App, stopped: &Receiver<()>) {
    let (mut next, mut text, mut is_over, mut is_stuck) = (0, Vec::new(), false, false);
    loop {
        // What a full disk has not taken is still to be written, and whole: until then no more is taken from the ring.
        let is_more = text.is_empty() && take(app, &mut next, &mut text);
        let written = write_down(file, &mut text);
        if let Err(error) = &written
            && !is_stuck
        {
            error!("cannot record to {name}: {error}. It is tried again; the file will say how many are lost");
        }
        if written.is_ok() && is_stuck {
            info!("recording to {name} again");
        }
        is_stuck = written.is_err();
        if is_more && !is_stuck {
            continue;
        }
        if is_over {
            return;
        }
        // What ended before it was told to stop is still to be written.
        is_over = stopped.recv_timeout(Duration::from_millis(WRITER_REST.0)) != Err(RecvTimeoutError::Timeout);
    }
}

/// Takes what waits in the ring, a batch at most. Says whether there may be more.
fn take(app: &App, next: &mut u64, text: &mut Vec<u8>) -> bool {
    let (records, lost) = app.with_gateway(|gateway| gateway.records_since(next, BATCH_MAX));
    if lost > 0 {
        text.extend_from_slice(Line::Lost(lost).text().as_bytes());
    }
    for record in &records {
        let account = Box::new(record.account(&app.config));
        text.extend_from_slice(Line::Request(account).text().as_bytes());
    }
    records.len() == BATCH_MAX
}

/// Writes as much as is taken, and leaves the rest.
fn write_down(file: &mut impl Write, text: &mut Vec<u8>) -> std::io::Result<()> {
    while !text.is_empty() {
        match file.write(text) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(taken) => drop(text.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so much.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            let taken = text.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&text[..taken]);
            if taken > 0 { Ok(taken) } else { Err(ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_has_not_taken_follows_when_it_has_room() {
        let (mut disk, mut text) = (Disk(Vec::new(), 7), b"a line\nanother\n".to_vec());
        let full = write_down(&mut disk, &mut text).unwrap_err();
        assert_eq!((full.kind(), text.as_slice()), (ErrorKind::StorageFull, &b"another\n"[..]));
        disk.1 = 100;
        write_down(&mut disk, &mut text).unwrap();
        assert_eq!((disk.0.as_slice(), text.is_empty()), (&b"a line\nanother\n"[..], true));
    }
}
