//! What a request asks for, read after its caller is known, and done command by command.

use super::answer::Answer;
use super::command::{self, Ask};
use super::request::{Request, Shown};
use super::resource::{self, Op};
use crate::config::Http;
use crate::failure::Failure;
use crate::metrics::Dialect;
use crate::serve::Visit;

/// A request's content.
pub(crate) enum Work {
    /// Commands, as the Upstash REST API takes them.
    Command(Ask),
    /// A key or a session.
    Resource(Op),
}

impl Work {
    /// Reads path, query, headers and body.
    ///
    /// # Errors
    /// 400 and its kin: the request means nothing, or something that is not built.
    pub(crate) fn read(request: &Request<'_>, shown: &Shown<'_>, settings: &Http) -> Result<Work, Failure> {
        match request.place.dialect {
            Dialect::Command => command::read(request, shown, settings).map(Work::Command),
            Dialect::Resource => resource::read(request).map(Work::Resource),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// Whatever kept it from being done.
    pub(crate) async fn run(&self, visit: &Visit<'_>) -> Result<Answer, Failure> {
        match self {
            Work::Command(ask) => ask.run(visit).await,
            Work::Resource(op) => op.run(visit).await,
        }
    }
}
