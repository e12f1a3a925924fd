//! What an operation of a JSON API is: its name, its address, its input, and how its answers and refusals look.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::routing::{MethodFilter, on};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::inquiry::{Inquiry, unknown};
use super::reply::Reply;
use super::schema::{self, Field, Shape};
use super::{Front, uri};
use crate::world::World;
use crate::world::errors::{EfsError, Result};
use crate::world::scope::{Requester, Service};

/// An operation of one of the services.
pub(super) trait Operation: Copy + Send + Sync + 'static {
    /// Whose it is.
    const SERVICE: Service;
    /// What stands in front of every path.
    const VERSION: &'static str;

    /// All operations of the service.
    fn all() -> &'static [Self];
    /// The API's name.
    fn name(self) -> &'static str;
    /// The HTTP method.
    fn method(self) -> Method;
    /// The path behind the API's version; members of the input stand in braces.
    fn path(self) -> &'static str;
    /// The HTTP status of success.
    fn status(self) -> u16;
    /// The members of its input.
    fn input(self) -> &'static [Field];
    /// The member that a query parameter stands for.
    fn query_member(self, parameter: &str) -> Option<&'static str>;
    /// Whether the input is, or may be, in the body.
    fn takes_body(self) -> bool;
    /// Does the work of a checked input; the answer's body.
    fn run(self, world: &World, requester: &Requester, input: Map<String, Value>) -> Result<Vec<u8>>;
    /// An error of the world as the service words it.
    fn refusal(error: &EfsError) -> Reply;
    /// An error that comes from in front of the service.
    fn front_error(status: u16, name: &str, message: &str) -> Reply;
}

/// Declares the operations of an API: an enum with what stands in the table.
macro_rules! operations {
    ($(#[$doc:meta])* $($name:ident $method:ident $path:literal $status:literal $input:ident,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are the API's own")]
        pub(crate) enum Operation { $($name),* }

        impl Operation {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The API's name.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The HTTP method.
            pub(super) fn method(self) -> Method {
                match self { $(Self::$name => Method::$method),* }
            }

            /// The path behind the API's version, as the service model has it; members of the input stand in braces.
            pub(super) fn path(self) -> &'static str {
                match self { $(Self::$name => $path),* }
            }

            /// The HTTP status of success.
            pub(super) fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// The members of its input.
            pub(super) fn input(self) -> &'static [Field] {
                match self { $(Self::$name => shapes::$input),* }
            }
        }
    };
}

/// Says that the methods of [`Operation`] that stand in the table, or beside it, are the type's own.
macro_rules! tabulated {
    () => {
        fn all() -> &'static [Self] {
            Self::ALL
        }

        fn name(self) -> &'static str {
            Self::name(self)
        }

        fn method(self) -> http::Method {
            Self::method(self)
        }

        fn path(self) -> &'static str {
            Self::path(self)
        }

        fn status(self) -> u16 {
            Self::status(self)
        }

        fn input(self) -> &'static [$crate::rest::schema::Field] {
            Self::input(self)
        }

        fn query_member(self, parameter: &str) -> Option<&'static str> {
            Self::query_member(self, parameter)
        }

        fn takes_body(self) -> bool {
            Self::takes_body(self)
        }
    };
}

pub(super) use {operations, tabulated};

/// An operation with its input, not yet checked.
#[derive(Clone, Debug)]
pub(super) struct Call<O> {
    /// Which operation.
    pub(super) operation: O,
    /// Members from path, query and body together.
    pub(super) input: Map<String, Value>,
}

/// The answer of an operation that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// JSON, or nothing.
    pub(super) body: Vec<u8>,
}

/// A member of the input that stands in the path, decoded.
pub(super) type Label = (String, String);

/// The members in a path, unless they are not UTF-8.
type Labels = std::result::Result<RawPathParams, RawPathParamsRejection>;

/// The routes to all operations of a service. A trailing slash makes no difference.
pub(super) fn routes<O: Operation>() -> Router<Arc<Front>> {
    O::all().iter().fold(Router::new(), |router, &operation| {
        // The router splits the path before it decodes the members: an ARN has its slash percent-encoded. Those that are not
        // UTF-8 name nothing; and HEAD, which the router takes for GET, is no method of the API.
        let serve = move |front: State<Arc<Front>>, labels: Labels, inquiry: Inquiry| async move {
            match labels {
                Ok(labels) if inquiry.parts.method == operation.method() => {
                    let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                    front.call(&inquiry, operation, labels).await
                }
                _ => Ok(unknown(inquiry).await),
            }
        };
        let filter = MethodFilter::try_from(operation.method()).unwrap_or(MethodFilter::GET);
        let path = format!("{}{}", O::VERSION, operation.path());
        router.route(&format!("{path}/"), on(filter, serve)).route(&path, on(filter, serve))
    })
}

/// Collects an operation's input from path, query and body.
pub(super) fn gather<O: Operation>(operation: O, labels: Vec<Label>, query: &str, body: &[u8]) -> Result<Call<O>> {
    let mut input = match body {
        body if operation.takes_body() && !body.is_empty() => read_body(body)?,
        _ => Map::new(),
    };
    for (name, text) in
        uri::query(query).ok_or_else(|| EfsError::bad_request("The query string is not valid UTF-8."))?
    {
        let Some(member) = operation.query_member(&name) else { continue };
        let field = operation.input().iter().find(|field| field.name == member).map(|field| &field.shape);
        match field {
            Some(Shape::List { .. }) => {
                let list = input.entry(member).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = list {
                    items.push(Value::String(text));
                }
            }
            Some(Shape::Whole(..)) => {
                let number: i64 = text.parse().map_err(|_| {
                    EfsError::bad_request(format!("The value '{text}' of '{name}' is not a whole number."))
                })?;
                input.insert(member.to_owned(), number.into());
            }
            Some(Shape::Flag) => {
                let flag: bool = text.parse().map_err(|_| {
                    EfsError::bad_request(format!("The value '{text}' of '{name}' is neither true nor false."))
                })?;
                input.insert(member.to_owned(), flag.into());
            }
            _ => {
                input.insert(member.to_owned(), Value::String(text));
            }
        }
    }
    input.extend(labels.into_iter().map(|(member, text)| (member, Value::String(text))));
    Ok(Call { operation, input })
}

fn read_body(body: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(EfsError::bad_request("The request body must be a JSON object.")),
        Err(error) => Err(EfsError::bad_request(format!("The request body is not valid JSON: {error}"))),
    }
}

/// Reads a checked input into an operation's type.
pub(super) fn read<T: DeserializeOwned>(input: Map<String, Value>) -> Result<T> {
    // `null` counts as absent, for lists too.
    let input = input.into_iter().filter(|(_, value)| !value.is_null()).collect();
    serde_json::from_value(Value::Object(input)).map_err(|error| EfsError::bad_request(error.to_string()))
}

/// The member that names the one resource that the operation is about.
pub(super) fn id(input: &Map<String, Value>, member: &str) -> String {
    input.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Checks and runs an operation.
pub(super) fn perform<O: Operation>(world: &World, requester: &Requester, call: Call<O>) -> Result<Answer> {
    let Call { operation, input } = call;
    schema::check(operation.input(), &input)?;
    let body = operation.run(world, requester, input)?;
    Ok(Answer { status: operation.status(), body })
}
