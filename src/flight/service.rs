//! The verbs of Arrow Flight, each in a few lines: who asks, what for, which room answers.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
};
use futures::stream::{self, BoxStream, StreamExt};
use mytsdb_storage::model::TenantId;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::put::PutRoom;
use super::{FlightOptions, actions, catalog, put, read, sql, ticket};
use crate::core::Core;
use crate::grpc;
use crate::tenant::TENANT_HEADER;

/// Metadata keys that name the tenant, first come first.
const TENANT_KEYS: [&str; 3] = [TENANT_HEADER, "database", "x-greptime-db-name"];

/// The Flight service over one core.
#[derive(Debug)]
pub struct MetricsFlight {
    core: Arc<Core>,
    options: FlightOptions,
    puts: Arc<PutRoom>,
}

impl MetricsFlight {
    pub(super) fn new(core: Arc<Core>, options: FlightOptions) -> Self {
        let puts = Arc::new(PutRoom::new(Arc::clone(&core), options.clone()));
        Self { core, options, puts }
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        tenant: TenantId,
        work: impl FnOnce(&Core, &TenantId) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let core = Arc::clone(&self.core);
        self.core
            .blocking
            .run(move || work(&core, &tenant))
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?
    }
}

fn tenant<T>(request: &Request<T>) -> Result<TenantId, Status> {
    grpc::tenant_of(request.metadata(), &TENANT_KEYS)
}

/// The tenant that the metadata name; `None` if they name none.
fn named_tenant<T>(request: &Request<T>) -> Result<Option<TenantId>, Status> {
    let is_named = TENANT_KEYS.iter().any(|key| request.metadata().contains_key(*key));
    is_named.then(|| tenant(request)).transpose()
}

type Reply<T> = Result<Response<BoxStream<'static, Result<T, Status>>>, Status>;

fn reply<T: Send + 'static>(items: Vec<T>) -> Reply<T> {
    Ok(Response::new(stream::iter(items.into_iter().map(Ok)).boxed()))
}

#[tonic::async_trait]
impl FlightService for MetricsFlight {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<ActionResult, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Reply<HandshakeResponse> {
        let first = request.into_inner().message().await?.unwrap_or_default();
        reply(vec![HandshakeResponse { protocol_version: first.protocol_version, payload: first.payload }])
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Reply<FlightInfo> {
        let tenant = tenant(&request)?;
        let fragment = String::from_utf8(request.into_inner().expression.to_vec()).map_err(|_| {
            Status::invalid_argument("the criteria are no UTF-8 text; allowed is a part of a name")
        })?;
        reply(self.blocking(tenant, move |core, tenant| catalog::list(core, tenant, &fragment)).await?)
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let tenant = tenant(&request)?;
        let descriptor = request.into_inner();
        let info = self.blocking(tenant, move |core, tenant| catalog::info(core, tenant, descriptor));
        info.await.map(Response::new)
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let tenant = tenant(&request)?;
        catalog::schema(&tenant, &request.into_inner()).map(Response::new)
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("PollFlightInfo is not supported; use GetFlightInfo and DoGet"))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<FlightData> {
        let tenant = tenant(&request)?;
        let ticket = request.into_inner().ticket;
        let query = match sql::command(&ticket)? {
            None => ticket::query(&ticket)?,
            Some(command) => match sql::read_of(command, &tenant)? {
                sql::Read::Query(query) => *query,
                sql::Read::Metadata(command) => {
                    let facts =
                        move |core: &Core, tenant: &TenantId| sql::metadata_batch(core, tenant, command);
                    return Ok(Response::new(read::of_batch(self.blocking(tenant, facts).await?)));
                }
            },
        };
        let rows = read::stream(Arc::clone(&self.core), tenant, query, &self.options);
        Ok(Response::new(rows.await?))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<PutResult> {
        let tenant = named_tenant(&request)?;
        let replies = put::start(Arc::clone(&self.puts), tenant, request.into_inner());
        Ok(Response::new(ReceiverStream::new(replies).boxed()))
    }

    async fn do_exchange(&self, _request: Request<Streaming<FlightData>>) -> Reply<FlightData> {
        Err(Status::unimplemented("DoExchange is not supported; use DoPut to write and DoGet to read"))
    }

    async fn do_action(&self, request: Request<Action>) -> Reply<ActionResult> {
        let tenant = tenant(&request)?;
        let action = request.into_inner();
        let is_admin = self.options.is_admin_api_enabled;
        let run = move |core: &Core, tenant: &TenantId| actions::run(core, tenant, &action, is_admin);
        let body = self.blocking(tenant, run).await?;
        reply(vec![ActionResult { body }])
    }

    async fn list_actions(&self, _request: Request<Empty>) -> Reply<ActionType> {
        reply(actions::list())
    }
}
