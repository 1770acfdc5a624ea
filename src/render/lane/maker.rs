//! What becomes of what was read: rows are decoded, and the steps right behind the scan run.
//!
//! In: what a lane carries. Out: chunks for the graph, in the order of the rows. What always holds: a maker keeps nothing from one call to the
//! next but what saves time, so that any worker's gives the same.

use std::collections::VecDeque;

use thalweg_operators::stateless::{Step, Steps};
use thalweg_operators::{Chunk, Error as OperatorError, Result};

use crate::Error;
use crate::formats::{Decoder, Frames, Part};
use crate::sources::Read;

/// What has become of something.
#[derive(Default)]
pub(super) struct Made {
    /// Rows before the steps, also those that the decoder has left out.
    pub(super) rows: usize,
    pub(super) chunks: VecDeque<Chunk>,
}

/// Makes chunks, on one worker.
pub(super) struct Maker {
    number: u32,
    decoder: Option<Box<dyn Decoder>>,
    steps: Steps,
}

impl Maker {
    /// Of the lane with this number.
    pub(super) fn new(number: u32, decoder: Option<Box<dyn Decoder>>, steps: Vec<Step>) -> Self {
        Maker { number, decoder, steps: Steps::new(steps) }
    }

    /// Puts into `made`, which has no chunks any more, what becomes of something read at this instant.
    pub(super) fn make(&mut self, read: Read, ingest: u64, made: &mut Made) -> Result<()> {
        made.rows = 0;
        let Part { rows, reach } = match read {
            Read::Frames(frames) => self.decode(&frames).map_err(OperatorError::outside)?,
            Read::Rows(rows) => Part::of(rows),
            Read::Part(part) => part,
            Read::Idle | Read::End => return Ok(()),
        };
        made.rows = reach as usize;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.steps.run(Chunk::new(rows, ingest, self.number), |piece| made.chunks.push_back(piece))
    }

    fn decode(&mut self, frames: &Frames) -> crate::Result<Part> {
        let none = || Error::internal("a source gave frames but no decoder");
        let decoder = self.decoder.as_mut().ok_or_else(none)?;
        let rows = decoder.decode(frames)?;
        let reach = (rows.num_rows() + decoder.left_out()) as u64;
        Ok(Part { rows, reach })
    }
}
