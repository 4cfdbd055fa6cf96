//! `output_query_request`.

use std::time::Instant;

use descartes_protocol::limits::MAX_LINES_IN_REPLY;
use descartes_protocol::{
    ErrorCode, OutputQueryRequest, OutputQueryResponse, Stream, StreamSelection,
};
use descartes_runner::{AgentError, AgentHandle, LineQuery, Lines, Rest};

use super::{Handlers, LINES_BYTES_MAX, Refusal};
use crate::dispatch::Dispatched;
use crate::stats::count;

impl Handlers {
    pub(super) fn output_query(&self, request: OutputQueryRequest) -> Dispatched {
        count(&self.shared.counters.output_queries);
        let handlers = self.clone();
        Dispatched::later(async move {
            let found = handlers.find_lines(&request).await;
            handlers.answer_query(request, found).into()
        })
    }

    async fn find_lines(&self, request: &OutputQueryRequest) -> Result<Lines, Refusal> {
        let agent = self.agent(request.agent_id)?;
        if request.from_offset.is_some() && request.stream == StreamSelection::Both {
            return Err(Refusal {
                error: "from_offset: it is an offset in one stream, and not in both".to_owned(),
                code: ErrorCode::MalformedMessage,
            });
        }
        let query = LineQuery {
            streams: match request.stream {
                StreamSelection::Stdout => vec![Stream::Stdout],
                StreamSelection::Stderr => vec![Stream::Stderr],
                StreamSelection::Both => vec![Stream::Stdout, Stream::Stderr],
            },
            filter: request.filter.clone(),
            offset: request.offset.unwrap_or(0),
            limit: request.limit.unwrap_or(u64::MAX),
            tail: request.tail.unwrap_or(false),
            bytes_max: LINES_BYTES_MAX,
            from: request.from_offset,
            deadline: self.search_deadline(),
            rest: match request.count {
                Some(false) => Rest::Unseen,
                None | Some(true) => {
                    Rest::Counted(Instant::now() + self.shared.request_timeout / 2)
                }
            },
        };
        Ok(self.search(&agent, query).await?)
    }

    /// Looks through output, a few at a time: each keeps a core busy for as long as it takes.
    pub(super) async fn search(
        &self,
        agent: &AgentHandle,
        mut query: LineQuery,
    ) -> Result<Lines, AgentError> {
        query.limit = query.limit.min(MAX_LINES_IN_REPLY as u64);
        // From now on: it waits for its turn.
        let _reading = agent.reading()?;
        let turn = self.shared.searches.acquire();
        let turn = tokio::time::timeout_at(query.deadline.into(), turn).await;
        // The semaphore is never closed.
        let _turn = turn.map_err(|_| AgentError::TimedOut)?;
        agent.query(query).await
    }

    pub(super) fn search_deadline(&self) -> Instant {
        Instant::now() + self.shared.request_timeout
    }

    fn answer_query(
        &self,
        request: OutputQueryRequest,
        found: Result<Lines, Refusal>,
    ) -> OutputQueryResponse {
        let mut response = OutputQueryResponse {
            request_id: request.request_id,
            agent_id: request.agent_id,
            success: found.is_ok(),
            lines: Vec::new(),
            total_lines: None,
            has_more: false,
            error: None,
            error_code: None,
            next_offset: None,
            lost_bytes: None,
        };
        match found {
            Ok(found) => {
                response.lines = found.lines;
                response.total_lines = found.total;
                response.has_more = found.has_more;
                response.next_offset = found.reached.map(|reached| reached.offset);
                response.lost_bytes = found.reached.map(|reached| reached.lost);
            }
            Err(refusal) => {
                self.count_error();
                response.error = Some(refusal.error);
                response.error_code = Some(refusal.code);
            }
        }
        response
    }
}
