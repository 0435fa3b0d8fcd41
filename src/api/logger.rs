//! LoggerService: the log files.

use tonic::Status;

use super::watch::{Answers, answers};
use super::{Server, unknown};
use crate::log;
use crate::wire::app::log::command::{
    FollowLogRequest, FollowLogResponse, RestartLoggerRequest, RestartLoggerResponse,
};

impl Server {
    pub(super) fn restart_logger(
        &self,
        _: RestartLoggerRequest,
    ) -> Result<RestartLoggerResponse, Status> {
        log::reopen();
        Ok(RestartLoggerResponse {})
    }

    pub(super) fn follow_log(&self, _: FollowLogRequest) -> Result<Answers, Status> {
        let lines = log::follow().ok_or_else(|| unknown("there is no log to follow"))?;
        Ok(answers(lines, |message| FollowLogResponse { message }))
    }
}
