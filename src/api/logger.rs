//! LoggerService: the log files.

use tonic::{Request, Response, Status, async_trait};

use super::Server;
use super::unknown;
use super::watch::{Answers, answers};
use crate::log;
use crate::wire::app::log::command::logger_service_server::LoggerService;
use crate::wire::app::log::command::{
    FollowLogRequest, FollowLogResponse, RestartLoggerRequest, RestartLoggerResponse,
};

#[async_trait]
impl LoggerService for Server {
    async fn restart_logger(
        &self,
        _: Request<RestartLoggerRequest>,
    ) -> Result<Response<RestartLoggerResponse>, Status> {
        log::reopen();
        Ok(Response::new(RestartLoggerResponse {}))
    }

    type FollowLogStream = Answers<FollowLogResponse>;

    async fn follow_log(
        &self,
        _: Request<FollowLogRequest>,
    ) -> Result<Response<Self::FollowLogStream>, Status> {
        let lines = log::follow().ok_or_else(|| unknown("there is no log to follow"))?;
        let answers = answers(lines, |message| FollowLogResponse { message });
        Ok(Response::new(answers))
    }
}
