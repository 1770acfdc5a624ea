//! Reads partitions or token ranges, several at once, page by page.
//!
//! In: a statement and what it is bound to. Out: rows, a page a batch, at most 8192 rows each. What waits to be read is bounded: the tasks
//! stop at a full channel, and for good when the reader is dropped.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use scylla::deserialize::row::ColumnIterator;
use scylla::response::PagingState;
use scylla::response::query_result::QueryResult;
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::settings::Settings;
use super::statement::Select;
use crate::Result;
use crate::cassandra::cluster::{Cluster, runtime, wait};
use crate::cassandra::decode::ColumnReader;
use crate::cassandra::encode::{Row, Rows};
use crate::cassandra::errors;
use crate::cassandra::table::{Table, TableColumn};
use crate::sources::{Offset, Read, Reader};

/// Rows handed over at once, at most.
const MOST_ROWS: usize = 8192;

/// What all tasks share.
struct Work {
    cluster: Arc<Cluster>,
    statement: PreparedStatement,
    values: Arc<Rows>,
    /// The next partition or token range that nobody has taken.
    next: AtomicUsize,
    columns: Vec<TableColumn>,
    schema: SchemaRef,
    doing: String,
}

/// The running read of one table.
pub(super) struct Pages {
    receiver: Receiver<Result<RecordBatch>>,
    /// A page that was longer than what is handed over at once.
    rest: Option<RecordBatch>,
}

impl Pages {
    /// Prepares the statement and starts reading.
    pub(super) fn open(
        cluster: &Arc<Cluster>,
        table: &Table,
        settings: &Settings,
        select: Select,
        projection: &[usize],
        schema: SchemaRef,
    ) -> Result<Pages> {
        let doing = format!("reading {}", table.name);
        let (connected, text, fetch_size, level) =
            (Arc::clone(cluster), doing.clone(), settings.fetch_size, settings.level);
        let Select { cql, values } = select;
        let statement = wait(async move {
            let mut statement = connected.prepare(cql, level, &text).await?;
            statement.set_page_size(fetch_size);
            Ok(statement)
        })?;
        let columns = projection.iter().filter_map(|column| table.columns.get(*column)).cloned().collect();
        let (values, next) = (Arc::new(values), AtomicUsize::new(0));
        let work = Arc::new(Work { cluster: Arc::clone(cluster), statement, values, next, columns, schema, doing });
        let tasks = settings.at_once.min(work.values.len());
        let (sender, receiver) = channel(tasks.max(1));
        for _ in 0..tasks {
            runtime()?.spawn(Arc::clone(&work).run(sender.clone()));
        }
        Ok(Pages { receiver, rest: None })
    }
}

impl Work {
    /// Reads what nobody else has taken, until there is nothing left or nobody wants more.
    async fn run(self: Arc<Self>, sender: Sender<Result<RecordBatch>>) {
        loop {
            let row = self.next.fetch_add(1, Ordering::Relaxed);
            if row >= self.values.len() {
                return;
            }
            if let Err(error) = self.read(row, &sender).await {
                drop(sender.send(Err(error)).await);
                return;
            }
            if sender.is_closed() {
                return;
            }
        }
    }

    /// Reads one partition or token range.
    async fn read(&self, row: usize, sender: &Sender<Result<RecordBatch>>) -> Result<()> {
        let bound = Row { rows: Arc::clone(&self.values), row };
        let mut state = PagingState::start();
        loop {
            let ask = || self.cluster.session.execute_single_page(&self.statement, &bound, state.clone());
            let (page, more) = self.cluster.persist(&self.doing, ask).await?;
            let rows = self.decode(page)?;
            if rows.num_rows() > 0 && sender.send(Ok(rows)).await.is_err() {
                return Ok(());
            }
            state = match more.into_paging_control_flow() {
                ControlFlow::Continue(state) => state,
                ControlFlow::Break(()) => return Ok(()),
            };
        }
    }

    fn decode(&self, page: QueryResult) -> Result<RecordBatch> {
        let page = page.into_rows_result().map_err(|cause| errors::answer(&self.doing, cause))?;
        let options = RecordBatchOptions::new().with_row_count(Some(page.rows_num()));
        let mut readers: Vec<ColumnReader> =
            self.columns.iter().map(|column| ColumnReader::new(&column.name, &column.cql)).collect();
        let rows = page.rows::<ColumnIterator<'_, '_>>().map_err(|cause| errors::answer(&self.doing, cause))?;
        for row in rows {
            let row = row.map_err(|cause| errors::answer(&self.doing, cause))?;
            // If no columns are wanted, one is read to count the rows; nobody takes it.
            for (reader, cell) in readers.iter_mut().zip(row) {
                let cell = cell.map_err(|cause| errors::answer(&self.doing, cause))?;
                reader.push(cell.slice.map(|slice| slice.as_slice()))?;
            }
        }
        let columns = readers.iter_mut().map(ColumnReader::finish).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl Pages {
    /// At most [`MOST_ROWS`] of the page; what is left comes next.
    fn cut(&mut self, page: RecordBatch) -> RecordBatch {
        if page.num_rows() <= MOST_ROWS {
            return page;
        }
        self.rest = Some(page.slice(MOST_ROWS, page.num_rows() - MOST_ROWS));
        page.slice(0, MOST_ROWS)
    }
}

impl Reader for Pages {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        if let Some(rest) = self.rest.take() {
            return Ok(Read::Rows(self.cut(rest)));
        }
        let next = runtime()?.block_on(async { tokio::time::timeout(wait, self.receiver.recv()).await });
        match next {
            Err(_) => Ok(Read::Idle),
            Ok(None) => Ok(Read::End),
            Ok(Some(page)) => Ok(Read::Rows(self.cut(page?))),
        }
    }

    /// A batch has no places in between.
    fn offset(&self) -> Offset {
        Offset::Null
    }
}
