//! State variables: made in `init`, read and written in a call.
//!
//! In: values of the program's types. Out: bytes in the operator's state, and back. A handle is a small token that is copied
//! freely; it belongs to the processor whose `init` made it.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_operators::arbitrary::{Layout, TimeMode, Variable};

use super::{Context, TtlConfig};
use crate::items::describe;
use crate::{Error, Result};

/// Where a processor names its state variables: Spark's `StatefulProcessorHandle`.
#[derive(Debug)]
pub struct StateHandle {
    pub(super) variables: Vec<Variable>,
    pub(super) deleted: Vec<String>,
    time: TimeMode,
}

impl StateHandle {
    pub(super) fn new(time: TimeMode) -> Self {
        StateHandle { variables: Vec::new(), deleted: Vec::new(), time }
    }

    /// The query's time mode.
    pub fn time_mode(&self) -> TimeMode {
        self.time
    }

    /// A variable with one value a key.
    ///
    /// # Errors
    /// `STATEFUL_PROCESSOR_DUPLICATE_STATE_VARIABLE_DEFINED`, `STATEFUL_PROCESSOR_TTL_DURATION_MUST_BE_POSITIVE`,
    /// `STATEFUL_PROCESSOR_INCORRECT_TIME_MODE_TO_ASSIGN_TTL`.
    pub fn value_state<T>(&mut self, name: &str, ttl: TtlConfig) -> Result<ValueState<T>>
    where
        T: Serialize + DeserializeOwned,
    {
        let place = self.add(name, Layout::Value, describe::<T>(), ttl)?;
        Ok(ValueState { place: Some(place), value: PhantomData })
    }

    /// A variable with a list of values a key.
    ///
    /// # Errors
    /// As [`StateHandle::value_state`].
    pub fn list_state<T>(&mut self, name: &str, ttl: TtlConfig) -> Result<ListState<T>>
    where
        T: Serialize + DeserializeOwned,
    {
        let place = self.add(name, Layout::List, describe::<T>(), ttl)?;
        Ok(ListState { place: Some(place), value: PhantomData })
    }

    /// A variable with a map a key.
    ///
    /// # Errors
    /// As [`StateHandle::value_state`].
    pub fn map_state<K, V>(&mut self, name: &str, ttl: TtlConfig) -> Result<MapState<K, V>>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        let schema = format!("{} -> {}", describe::<K>(), describe::<V>());
        let place = self.add(name, Layout::Map, schema, ttl)?;
        Ok(MapState { place: Some(place), entry: PhantomData })
    }

    /// Forgets a variable that a former run on the same checkpoint had. Without this, a variable that is no longer named stays
    /// in the checkpoint.
    pub fn delete_if_exists(&mut self, name: &str) {
        self.deleted.push(name.to_owned());
    }

    fn add(&mut self, name: &str, layout: Layout, schema: String, ttl: TtlConfig) -> Result<usize> {
        if self.variables.iter().any(|variable| variable.name == name) {
            let message = format!("the processor has two state variables '{name}'");
            return Err(Error::query("STATEFUL_PROCESSOR_DUPLICATE_STATE_VARIABLE_DEFINED", message));
        }
        let ttl = self.ttl(name, ttl)?;
        self.variables.push(Variable { name: name.to_owned(), layout, schema, ttl });
        Ok(self.variables.len() - 1)
    }

    fn ttl(&self, name: &str, ttl: TtlConfig) -> Result<Option<i64>> {
        let Some(ttl) = ttl.0 else { return Ok(None) };
        let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        if millis == 0 {
            let message = format!("the time to live of state variable '{name}' is below a millisecond");
            return Err(Error::query("STATEFUL_PROCESSOR_TTL_DURATION_MUST_BE_POSITIVE", message));
        }
        if self.time != TimeMode::ProcessingTime {
            let message = format!("state variable '{name}' has a time to live in time mode '{:?}'", self.time);
            return Err(Error::query("STATEFUL_PROCESSOR_INCORRECT_TIME_MODE_TO_ASSIGN_TTL", message)
                .hint("Use TimeMode::ProcessingTime."));
        }
        Ok(Some(millis))
    }
}

/// Makes a handle a small token: copied, made empty by default, shown by name.
macro_rules! token {
    ($name:ident<$($parameter:ident),+>, $field:ident) => {
        impl<$($parameter),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($parameter),+> Copy for $name<$($parameter),+> {}

        impl<$($parameter),+> Default for $name<$($parameter),+> {
            fn default() -> Self {
                $name { place: None, $field: PhantomData }
            }
        }

        impl<$($parameter),+> fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.place)
            }
        }

        impl<$($parameter),+> $name<$($parameter),+> {
            fn place(&self) -> Result<usize> {
                self.place.ok_or_else(|| unmade(stringify!($name)))
            }

            /// Whether the key has something in it.
            ///
            /// # Errors
            /// If `init` did not make the handle.
            pub fn exists(&self, context: &Context<'_>) -> Result<bool> {
                Ok(context.states.exists(self.place()?))
            }

            /// Forgets all that the key has in it.
            ///
            /// # Errors
            /// If `init` did not make the handle.
            pub fn clear(&self, context: &mut Context<'_>) -> Result<()> {
                context.states.clear(self.place()?);
                Ok(())
            }
        }
    };
}

/// One value a key.
pub struct ValueState<T> {
    place: Option<usize>,
    value: PhantomData<fn() -> T>,
}

/// A list of values a key.
pub struct ListState<T> {
    place: Option<usize>,
    value: PhantomData<fn() -> T>,
}

/// A map a key.
pub struct MapState<K, V> {
    place: Option<usize>,
    entry: PhantomData<fn() -> (K, V)>,
}

token!(ValueState<T>, value);
token!(ListState<T>, value);
token!(MapState<K, V>, entry);

impl<T: Serialize + DeserializeOwned> ValueState<T> {
    /// The value, if there is one.
    ///
    /// # Errors
    /// If `init` did not make the handle, or the bytes are of another type.
    pub fn get(&self, context: &Context<'_>) -> Result<Option<T>> {
        context.states.value(self.place()?).map(decode).transpose()
    }

    /// Sets the value.
    ///
    /// # Errors
    /// If `init` did not make the handle, or the value cannot be serialized.
    pub fn update(&self, context: &mut Context<'_>, value: &T) -> Result<()> {
        context.states.set_value(self.place()?, encode(value)?);
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned> ListState<T> {
    /// The values, in the order in which they were appended.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn get(&self, context: &Context<'_>) -> Result<Vec<T>> {
        context.states.list(self.place()?).map(decode).collect()
    }

    /// Replaces all values.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    pub fn put(&self, context: &mut Context<'_>, values: &[T]) -> Result<()> {
        let values = values.iter().map(encode).collect::<Result<_>>()?;
        context.states.set_list(self.place()?, values);
        Ok(())
    }

    /// Adds a value at the end.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    pub fn append_value(&self, context: &mut Context<'_>, value: &T) -> Result<()> {
        context.states.append(self.place()?, encode(value)?);
        Ok(())
    }

    /// Adds values at the end.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    pub fn append_list(&self, context: &mut Context<'_>, values: &[T]) -> Result<()> {
        values.iter().try_for_each(|value| self.append_value(context, value))
    }
}

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> MapState<K, V> {
    /// The value of a key of the map.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn get_value(&self, context: &Context<'_>, key: &K) -> Result<Option<V>> {
        context.states.entry(self.place()?, &encode(key)?).map(decode).transpose()
    }

    /// Whether the map has a key.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn contains_key(&self, context: &Context<'_>, key: &K) -> Result<bool> {
        Ok(context.states.entry(self.place()?, &encode(key)?).is_some())
    }

    /// Sets the value of a key of the map.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    pub fn update_value(&self, context: &mut Context<'_>, key: &K, value: &V) -> Result<()> {
        context.states.set_entry(self.place()?, encode(key)?, encode(value)?);
        Ok(())
    }

    /// Takes a key out of the map.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    pub fn remove_key(&self, context: &mut Context<'_>, key: &K) -> Result<()> {
        context.states.remove_entry(self.place()?, &encode(key)?);
        Ok(())
    }

    /// All keys and values, in no particular but always the same order.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn entries(&self, context: &Context<'_>) -> Result<Vec<(K, V)>> {
        context.states.entries(self.place()?).map(|(key, value)| Ok((decode(key)?, decode(value)?))).collect()
    }

    /// All keys, in the order of [`MapState::entries`].
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn keys(&self, context: &Context<'_>) -> Result<Vec<K>> {
        context.states.entries(self.place()?).map(|(key, _)| decode(key)).collect()
    }

    /// All values, in the order of [`MapState::entries`].
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn values(&self, context: &Context<'_>) -> Result<Vec<V>> {
        context.states.entries(self.place()?).map(|(_, value)| decode(value)).collect()
    }
}

fn unmade(kind: &str) -> Error {
    Error::invalid(format!("a {kind} is used that no state variable was made for"))
        .hint("Make it in init(), as in self.seen = handle.value_state(\"seen\", TtlConfig::NONE)?.")
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|cause| Error::invalid(format!("a state's value can't be serialized: {cause}")).caused_by(cause))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bincode::serde::decode_from_slice(bytes, bincode::config::standard()) {
        Ok((value, _)) => Ok(value),
        Err(cause) => {
            let message = format!("a state's value can't be read: {cause}");
            Err(Error::data("STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE", message)
                .caused_by(cause)
                .hint("Its type has changed since it was written, or does not fit bincode (flatten, untagged)."))
        }
    }
}
