//! `--record FILE`: a thread of its own writes the records of requests that are over, off every request's way.
//!
//! What it has not written yet waits in the gateway's ring of records, which is bounded: if more requests end than the disk
//! takes, the file says how many it lacks.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_core::record::{Header, Line, WRITER_REST};
use tracing::error;

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
        let mut file = BufWriter::new(open(path).map_err(failed)?);
        file.write_all(Line::Begin(header).text().as_bytes()).and_then(|()| file.flush()).map_err(failed)?;
        let (stop, stopped) = channel();
        let name = path.display().to_string();
        let write = move || {
            if let Err(error) = write(&mut file, &app, &stopped) {
                error!("cannot record to {name} any more: {error}");
            }
        };
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

fn write(file: &mut BufWriter<File>, app: &App, stopped: &Receiver<()>) -> std::io::Result<()> {
    let mut next = 0;
    let mut is_over = false;
    loop {
        let (records, lost) = app.with_gateway(|gateway| gateway.records_since(&mut next, BATCH_MAX));
        if lost > 0 {
            file.write_all(Line::Lost(lost).text().as_bytes())?;
        }
        for record in &records {
            let account = Box::new(record.account(&app.config));
            file.write_all(Line::Request(account).text().as_bytes())?;
        }
        if records.len() == BATCH_MAX {
            continue;
        }
        file.flush()?;
        if is_over {
            return Ok(());
        }
        // What ended before it was told to stop is still to be written.
        is_over = stopped.recv_timeout(Duration::from_millis(WRITER_REST.0)) != Err(RecvTimeoutError::Timeout);
    }
}
