//! A publication on its way to the sessions that listen to its topic.

use std::sync::{Arc, OnceLock};

use super::SharedText;
use crate::store::operation::Publication;
use crate::wire::print_pipeline;

/// Shared by all sessions of this node: what each would build from it is built once.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) publication: Publication,
    /// Its message id on the wire.
    pub(crate) smid: String,
    alone: OnceLock<Arc<SharedText>>,
}

impl Published {
    pub(crate) fn new(publication: Publication) -> Published {
        Published {
            smid: publication.smid(),
            publication,
            alone: OnceLock::new(),
        }
    }

    /// The pipeline that contains nothing else.
    pub(crate) fn alone(&self) -> Arc<SharedText> {
        let print = || SharedText::new(print_pipeline([&self.publication.envelope()]));
        self.alone.get_or_init(|| Arc::new(print())).clone()
    }
}
