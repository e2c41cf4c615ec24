//! Admission: tells the API server, and so whoever runs `kubectl apply`, what is wrong with an Ingress before it is
//! stored.
//!
//! ```text
//!  API server --POST--> server (own thread) --Question--> main loop: judge(what is there, review) --> Verdict
//!                         TLS by Serving                     (a trial on the translator; nothing is changed)
//!                            ^
//!   files, or keeper: CA and certificate in a Secret, caBundle of the webhook
//! ```
//!
//! A question is answered by the main loop, which owns what is there: so an answer is never about an older state than
//! what is served, and it costs as much as the Ingress's own hosts are large. No file is written, no process started.

mod authority;
mod desk;
mod files;
mod inspect;
mod judge;
mod keeper;
mod review;
mod server;
mod serving;

pub use self::desk::{Answer, Desk, Question, Questions, desk};
pub use self::files::CertificateFiles;
pub use self::judge::{Judgement, Rules, Verdict, View, judge};
pub use self::keeper::Keeper;
pub use self::review::{Review, ReviewError};
pub use self::server::{AdmissionServer, Observation};
pub use self::serving::Serving;
