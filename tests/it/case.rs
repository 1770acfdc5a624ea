//! Cases of the conformance corpus: reading them, writing their inputs, building their queries.
//!
//! In: `tests/conformance/<area>/<name>.json` (its README tells the format). Out: DataFrames built through the public
//! interface. Streaming and static queries are built by the same code; only the reader differs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use thalweg::frame::{Column, DataFrame, JoinOn, expr};
use thalweg::session::Session;
use thalweg::{Error, Result};

/// One case.
#[derive(Clone)]
pub struct Case {
    /// `area/name`.
    pub name: String,
    /// The whole file.
    pub json: Value,
}

/// Where the cases are: the corpus in this repository, or the folder that `THALWEG_CONFORMANCE` names.
fn root() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    std::env::var_os("THALWEG_CONFORMANCE").map_or_else(own, PathBuf::from)
}

/// Whether the cases are those of a folder that was named, which may have any number of them.
pub fn is_foreign() -> bool {
    std::env::var_os("THALWEG_CONFORMANCE").is_some()
}

/// All cases that are queries (not expression files), sorted by name.
pub fn all() -> Vec<Case> {
    let root = root();
    let mut cases: Vec<Case> = folders(&root).iter().flat_map(|area| folders(area)).map(|path| read(&path)).collect();
    cases.retain(|case| case.json["kind"] != "expr");
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// What lies in a folder; nothing if it is a file.
fn folders(path: &Path) -> Vec<PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| is_case(path)).collect()
}

fn is_case(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|extension| extension == "json")
}

fn read(path: &Path) -> Case {
    let text = fs::read_to_string(path).expect("a case can be read");
    let json: Value = serde_json::from_str(&text).expect("a case is JSON");
    let name = format!("{}/{}", json["area"].as_str().unwrap_or("?"), json["name"].as_str().unwrap_or("?"));
    Case { name, json }
}

/// The text of a field; empty if there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The elements of a list; none if it is no list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

impl Case {
    /// A session with the case's settings; with `THALWEG_STATE_STORE=sled` as much state as possible lies in files.
    pub fn session(&self) -> Session {
        let session = Session::builder().create();
        // Spark's default; ours is to run what has a meaning.
        session.set_conf("spark.sql.streaming.unsupportedOperationCheck", "true");
        if let Some(store) = std::env::var_os("THALWEG_STATE_STORE") {
            session.set_conf("thalweg.stateStore", store.display());
            session.set_conf("thalweg.stateStore.memory", "0");
        }
        for (key, value) in self.json["conf"].as_object().into_iter().flatten() {
            session.set_conf(key, text(value));
        }
        session
    }

    /// `area` of `area/name`.
    pub fn area(&self) -> &str {
        text(&self.json["area"])
    }

    /// Makes the folders of all sources.
    pub fn make_folders(&self, root: &Path) -> std::io::Result<()> {
        list(&self.json["sources"]).iter().try_for_each(|source| fs::create_dir_all(root.join(text(&source["name"]))))
    }

    /// Writes file `index` of a source into its folder below `root`: it appears whole, and newer than those before it.
    pub fn write_file(&self, root: &Path, source: &Value, index: usize) -> std::io::Result<()> {
        let Some(lines) = list(&source["files"]).get(index) else { return Ok(()) };
        let content: String = list(lines).iter().map(|line| format!("{}\n", text(line))).collect();
        let hidden = root.join(".arriving");
        fs::write(&hidden, content)?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + index as u64);
        fs::File::options().write(true).open(&hidden)?.set_modified(time)?;
        fs::rename(
            hidden,
            root.join(text(&source["name"])).join(format!("part-{index:05}.{}", text(&source["format"]))),
        )
    }

    /// Writes all files of all sources.
    pub fn write_all(&self, root: &Path) -> std::io::Result<()> {
        self.make_folders(root)?;
        for source in list(&self.json["sources"]) {
            (0..list(&source["files"]).len()).try_for_each(|index| self.write_file(root, source, index))?;
        }
        Ok(())
    }

    /// Registers sources and views; sources that are not static are streams if `streaming`.
    pub fn register(&self, session: &Session, root: &Path, streaming: bool) -> Result<()> {
        self.register_with(session, |source| {
            source_frame(session, source, root, source["static"] == true || !streaming)
        })
    }

    /// Registers what `frame` makes of each source, then the views.
    pub fn register_with(&self, session: &Session, frame: impl Fn(&Value) -> Result<DataFrame>) -> Result<()> {
        for source in list(&self.json["sources"]) {
            frame(source)?.create_or_replace_temp_view(text(&source["name"]))?;
        }
        for view in list(&self.json["views"]) {
            query(session, &view["query"])?.create_or_replace_temp_view(text(&view["name"]))?;
        }
        Ok(())
    }

    /// The case's query over what was registered.
    pub fn query(&self, session: &Session) -> Result<DataFrame> {
        query(session, &self.json["query"])
    }
}

/// A source of a case, read as a table or as a stream of files.
pub fn source_frame(session: &Session, source: &Value, root: &Path, is_static: bool) -> Result<DataFrame> {
    let path = root.join(text(&source["name"]));
    let path = path.to_string_lossy();
    let options = source["options"].as_object().into_iter().flatten().map(|(key, value)| (key, text(value)));
    let schema = source["schema"].as_str();
    let format = text(&source["format"]);
    if is_static {
        let options = options.filter(|(key, _)| !key.eq_ignore_ascii_case("maxFilesPerTrigger"));
        let reader = session.read().format(format).options(options);
        match schema {
            Some(schema) => reader.schema(schema).load_path(&path),
            None => reader.load_path(&path),
        }
    } else {
        let reader = session.read_stream().format(format).option("maxFilesPerTrigger", 1).options(options);
        match schema {
            Some(schema) => reader.schema(schema).load_path(&path),
            None => reader.load_path(&path),
        }
    }
}

/// A query of the corpus as a DataFrame.
pub fn query(session: &Session, query: &Value) -> Result<DataFrame> {
    let start = match query["sql"].as_str() {
        Some(sql) => session.sql(sql)?,
        None => session.table(text(&query["from"]))?,
    };
    list(&query["ops"]).iter().try_fold(start, |frame, op| apply(session, &frame, op))
}

fn apply(session: &Session, frame: &DataFrame, op: &Value) -> Result<DataFrame> {
    let columns = texts(&op["columns"]);
    match text(&op["op"]) {
        "select" => frame.select_expr(texts(&op["exprs"])),
        "withColumn" => frame.with_column(text(&op["name"]), expr(text(&op["expr"]))),
        "withColumnRenamed" => frame.with_column_renamed(text(&op["from"]), text(&op["to"])),
        "drop" => frame.drop(columns),
        "where" => frame.filter(text(&op["expr"])),
        "withWatermark" => frame.with_watermark(text(&op["column"]), text(&op["delay"])),
        "groupBy" => frame.group_by(exprs(&op["keys"])).agg(exprs(&op["aggs"])),
        "dropDuplicates" => frame.drop_duplicates(&columns),
        "dropDuplicatesWithinWatermark" => frame.drop_duplicates_within_watermark(&columns),
        "distinct" => frame.distinct(),
        "alias" => frame.alias(text(&op["name"])),
        "join" => join(session, frame, op),
        "union" => union(session, frame, op),
        "intersect" => frame.intersect(&query(session, &op["with"])?),
        "except" => frame.except(&query(session, &op["with"])?),
        "orderBy" => frame.order_by(texts(&op["keys"]).into_iter().map(sort_key)),
        "limit" => frame.limit(op["n"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)),
        other => Err(Error::internal(format!("the corpus has the unknown operation '{other}'"))),
    }
}

fn exprs(value: &Value) -> Vec<Column> {
    texts(value).into_iter().map(expr).collect()
}

fn join(session: &Session, frame: &DataFrame, op: &Value) -> Result<DataFrame> {
    let other = query(session, &op["with"])?;
    let how = text(&op["how"]);
    let on = match (op["on"].as_str(), op["using"].as_array()) {
        (Some(condition), _) => JoinOn::from(expr(condition)),
        (None, Some(_)) => JoinOn::from(texts(&op["using"]).as_slice()),
        (None, None) => return frame.cross_join(&other),
    };
    frame.join(&other, on, how)
}

fn union(session: &Session, frame: &DataFrame, op: &Value) -> Result<DataFrame> {
    let other = query(session, &op["with"])?;
    match op["byName"] == true {
        true => frame.union_by_name(&other, op["allowMissing"] == true),
        false => frame.union(&other),
    }
}

/// `expr [ASC|DESC] [NULLS FIRST|LAST]`.
fn sort_key(text: &str) -> Column {
    let strip = |text: &str, suffix: &str| {
        let cut = text.len().checked_sub(suffix.len())?;
        text.get(cut..)?.eq_ignore_ascii_case(suffix).then(|| text[..cut].to_string())
    };
    let (text, nulls_first) = match (strip(text, " NULLS FIRST"), strip(text, " NULLS LAST")) {
        (Some(rest), _) => (rest, Some(true)),
        (_, Some(rest)) => (rest, Some(false)),
        _ => (text.to_string(), None),
    };
    let (text, descending) = match (strip(&text, " DESC"), strip(&text, " ASC")) {
        (Some(rest), _) => (rest, true),
        (_, Some(rest)) => (rest, false),
        _ => (text, false),
    };
    match (descending, nulls_first) {
        (false, None | Some(true)) => expr(&text).asc_nulls_first(),
        (false, Some(false)) => expr(&text).asc_nulls_last(),
        (true, None | Some(false)) => expr(&text).desc_nulls_last(),
        (true, Some(true)) => expr(&text).desc_nulls_first(),
    }
}

/// True if an error is the one that the corpus expects; names that are no conditions only ask for a refusal.
pub fn is_expected(error: &Error, expected: &Value) -> bool {
    let condition = text(&expected["condition"]);
    if condition.starts_with("_LEGACY_ERROR_TEMP_") || condition.starts_with("JAVA:") {
        return true;
    }
    let given = error.condition();
    given == Some(condition) || expected["rootCondition"].as_str().is_some_and(|root| given == Some(root))
}
