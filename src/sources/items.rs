//! The typed end of a memory stream: serde values pushed from any thread become rows.
//!
//! In: values of one type. Out: the rows of a [`MemoryStream`]. What is sent with one call travels at once; the sender never
//! waits for more. The stream is bounded: a send waits (blocking or async) while too many rows are kept.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::memory::MemoryStream;
use crate::Result;
use crate::items::Encoder;

/// Sends values of type `T` into a stream, one row each; made by [`crate::io::DataStreamReader::items`].
///
/// Clones send into the same stream, from any thread. When the last of them is dropped the stream is closed: queries that
/// read it work off what is there and end.
pub struct StreamSender<T> {
    open: Arc<Open>,
    encoder: Encoder<T>,
}

/// Closes the stream when nobody can send any more.
struct Open(MemoryStream);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Clone for StreamSender<T> {
    fn clone(&self) -> Self {
        StreamSender { open: Arc::clone(&self.open), encoder: self.encoder.clone() }
    }
}

impl<T: Serialize + DeserializeOwned> StreamSender<T> {
    /// A sender into an own stream (built with several partitions, without replay, ...); it sends to partition 0.
    ///
    /// # Errors
    /// None today; a type that can never fit the stream may be refused later.
    pub fn new(stream: MemoryStream) -> Result<Self> {
        let encoder = Encoder::new(Some(stream.schema()))?;
        Ok(StreamSender { open: Arc::new(Open(stream)), encoder })
    }
}

impl<T: Serialize> StreamSender<T> {
    /// The stream behind it.
    pub fn stream(&self) -> &MemoryStream {
        &self.open.0
    }

    /// Sends one value; waits while the stream is full, also while no query reads it.
    ///
    /// # Errors
    /// A value that does not fit its columns; a closed stream.
    pub fn send(&self, item: &T) -> Result<()> {
        self.send_many(std::slice::from_ref(item))
    }

    /// Sends values, together; waits while the stream is full.
    ///
    /// # Errors
    /// As [`StreamSender::send`].
    pub fn send_many(&self, items: &[T]) -> Result<()> {
        self.stream().push(self.encoder.rows(items)?)
    }

    /// Sends one value if the stream is not full; false if it is.
    ///
    /// # Errors
    /// As [`StreamSender::send`].
    pub fn try_send(&self, item: &T) -> Result<bool> {
        self.stream().try_push(0, self.encoder.rows(std::slice::from_ref(item))?)
    }

    /// Sends one value; other tasks run while the stream is full. Works in any async runtime.
    ///
    /// # Errors
    /// As [`StreamSender::send`].
    pub async fn send_async(&self, item: &T) -> Result<()> {
        let rows = self.encoder.rows(std::slice::from_ref(item))?;
        self.stream().push_async(0, rows).await
    }

    /// Sends values, together; other tasks run while the stream is full.
    ///
    /// # Errors
    /// As [`StreamSender::send`].
    pub async fn send_many_async(&self, items: &[T]) -> Result<()> {
        let rows = self.encoder.rows(items)?;
        self.stream().push_async(0, rows).await
    }

    /// No more will come, from any clone: queries work off what is there and end, later sends fail.
    pub fn close(&self) {
        self.stream().close();
    }
}

impl<T> std::fmt::Debug for StreamSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamSender<{}>", crate::items::short_name::<T>())
    }
}
