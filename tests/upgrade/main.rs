//! What was released stays as it was: databases of every released version can be brought up to date.

mod migrations;
