//! Flight SQL with the client of `arrow-flight`: bulk ingest, statements, the catalog.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type};
use arrow_flight::encode::DictionaryHandling;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetTables, CommandStatementIngest, DoPutUpdateResult, ProstMessageExt,
    SqlInfo, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use arrow_flight::{FlightDescriptor, FlightInfo};
use futures::TryStreamExt;
use mytsdb::Running;
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;

use crate::flight::{long, messages};
use crate::grpc_server::{now_ms, start};

type Client = FlightSqlServiceClient<Channel>;

async fn client(server: &Running) -> Client {
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", server.addrs.arrow)).unwrap();
    FlightSqlServiceClient::new(channel.connect().await.unwrap())
}

fn ingest_into(
    table: &str,
    if_not_exist: TableNotExistOption,
    if_exists: TableExistsOption,
) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: if_not_exist.into(),
            if_exists: if_exists.into(),
        }),
        table: table.to_owned(),
        ..CommandStatementIngest::default()
    }
}

fn append(table: &str) -> CommandStatementIngest {
    ingest_into(table, TableNotExistOption::Fail, TableExistsOption::Append)
}

fn create(table: &str) -> CommandStatementIngest {
    ingest_into(table, TableNotExistOption::Create, TableExistsOption::Fail)
}

fn replace(table: &str) -> CommandStatementIngest {
    ingest_into(table, TableNotExistOption::Create, TableExistsOption::Replace)
}

async fn ingest(
    client: &mut Client,
    command: CommandStatementIngest,
    batches: Vec<RecordBatch>,
) -> Result<i64, FlightError> {
    client.execute_ingest(command, futures::stream::iter(batches.into_iter().map(Ok))).await
}

fn refusal(error: FlightError) -> tonic::Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("no status: {other}"),
    }
}

async fn rows(client: &mut Client, info: FlightInfo) -> Vec<RecordBatch> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    client.do_get(ticket).await.unwrap().try_collect().await.unwrap()
}

async fn texts(client: &mut Client, info: FlightInfo, column: &str) -> Vec<String> {
    let batches = rows(client, info).await;
    let all =
        batches.iter().flat_map(|batch| batch.column_by_name(column).unwrap().as_string::<i32>().iter());
    all.map(|text| text.unwrap().to_owned()).collect()
}

#[tokio::test]
async fn appending_always_works_and_other_modes_only_where_they_mean_something() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let samples = |time_ms: i64| vec![long(&[time_ms, time_ms], &["up", "load"], &["a", "a"], &[1.0, 2.0])];
    assert_eq!(ingest(&mut client, append("samples"), samples(now)).await.unwrap(), 2);
    let twice = [samples(now + 1), samples(now + 2)].concat();
    assert_eq!(ingest(&mut client, append("samples"), twice).await.unwrap(), 4);
    assert_eq!(ingest(&mut client, append("fresh"), samples(now)).await.unwrap(), 2);
    assert_eq!(ingest(&mut client, create("fresher"), samples(now)).await.unwrap(), 2);
    for (command, code, part) in [
        (create("samples"), Code::AlreadyExists, "append"),
        (create("up"), Code::AlreadyExists, "append"),
        (replace("samples"), Code::InvalidArgument, "cannot be replaced"),
        (replace("up"), Code::InvalidArgument, "cannot be replaced"),
        (append("series"), Code::InvalidArgument, "can only be read"),
        (append(""), Code::InvalidArgument, "empty"),
        (CommandStatementIngest { temporary: true, ..append("up") }, Code::InvalidArgument, "temporary"),
        (
            CommandStatementIngest { transaction_id: Some("t".into()), ..append("up") },
            Code::InvalidArgument,
            "transactions",
        ),
        (
            CommandStatementIngest { schema: Some("public".to_owned()), ..append("up") },
            Code::InvalidArgument,
            "\"public\"",
        ),
    ] {
        let refused = refusal(ingest(&mut client, command, samples(now)).await.unwrap_err());
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(part), "{refused}");
    }
}

#[tokio::test]
async fn a_refused_row_is_not_counted_and_the_trailers_say_why() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let mut times_ms: Vec<i64> = (0..10_000).map(|row| now - row).collect();
    times_ms[77] = 1;
    let bad = long(&times_ms, &["up"; 10_000], &["a"; 10_000], &[1.0; 10_000]);
    assert_eq!(ingest(&mut client, append("samples"), vec![bad.clone()]).await.unwrap(), 9_999);
    let descriptor = FlightDescriptor::new_cmd(append("samples").as_any().encode_to_vec());
    let plain = arrow::ipc::writer::IpcWriteOptions::default();
    let messages = messages(descriptor, vec![bad], plain, DictionaryHandling::Hydrate).await;
    let mut replies = client.inner_mut().do_put(futures::stream::iter(messages)).await.unwrap().into_inner();
    let result = replies.message().await.unwrap().unwrap();
    assert_eq!(DoPutUpdateResult::decode(result.app_metadata).unwrap().record_count, 9_999);
    assert!(replies.message().await.unwrap().is_none());
    let trailers = replies.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("mytsdb-rejected-rows").unwrap(), "1");
    assert!(trailers.get("mytsdb-rejected-reason").unwrap().to_str().unwrap().starts_with("row 77: "));
    let all_bad = long(&[1], &["up"], &["a"], &[1.0]);
    let refused = refusal(ingest(&mut client, append("samples"), vec![all_bad]).await.unwrap_err());
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("row 0: "), "{refused}");
}

#[tokio::test]
async fn the_catalog_is_the_tenant_and_nobody_sees_another_one() {
    let server = start().await;
    let mut team = client(&server.running).await;
    let now = now_ms();
    let command = CommandStatementIngest { catalog: Some("team".to_owned()), ..append("samples") };
    let sample = || vec![long(&[now], &["up"], &["a"], &[1.0])];
    assert_eq!(ingest(&mut team, command.clone(), sample()).await.unwrap(), 1);
    team.set_header("x-scope-orgid", "team");
    assert_eq!(ingest(&mut team, command.clone(), sample()).await.unwrap(), 1);
    let mut other = client(&server.running).await;
    other.set_header("database", "other");
    let refused = refusal(ingest(&mut other, command, sample()).await.unwrap_err());
    assert!(refused.message().contains("\"team\""), "{refused}");
    for (client, name, table_count) in [(&mut team, "team", 7), (&mut other, "other", 6)] {
        let info = client.get_catalogs().await.unwrap();
        assert_eq!(texts(client, info, "catalog_name").await, [name]);
        let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
        assert_eq!(texts(client, info, "db_schema_name").await, ["metrics"]);
        let info = client.get_tables(CommandGetTables::default()).await.unwrap();
        assert_eq!(texts(client, info, "table_name").await.len(), table_count, "{name}");
    }
}

#[tokio::test]
async fn tables_are_listed_with_their_schemas_and_selected_whole() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms() / 1_000 * 1_000;
    let rows_put = long(&[now, now - 1_000, now], &["up", "up", "load"], &["a"; 3], &[1.0, 2.0, 3.0]);
    ingest(&mut client, append("samples"), vec![rows_put]).await.unwrap();
    let request = CommandGetTables {
        table_name_filter_pattern: Some("u_".to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.get_tables(request).await.unwrap();
    let tables = rows(&mut client, info).await;
    assert_eq!(tables[0].num_rows(), 1);
    assert_eq!(tables[0].column_by_name("table_type").unwrap().as_string::<i32>().value(0), "TABLE");
    assert!(!tables[0].column_by_name("table_schema").unwrap().as_binary::<i32>().value(0).is_empty());
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&mut client, info, "table_type").await, ["SYSTEM TABLE", "TABLE"]);

    let statement = format!("SELECT * FROM \"up\" WHERE timestamp >= {}", now / 1_000);
    let info = client.execute(statement.clone(), None).await.unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    let selected = rows(&mut client, info).await;
    assert_eq!(*selected[0].schema(), schema);
    assert_eq!(selected[0].column_by_name("value").unwrap().as_primitive::<Float64Type>().values(), &[1.0]);
    let again = ingest(&mut client, append("samples"), selected).await.unwrap();
    assert_eq!(again, 1, "what is selected can be put back");
    let info = client.execute(format!("PROMQL time={} sum(up) + 5", now / 1_000), None).await.unwrap();
    let computed = rows(&mut client, info).await;
    assert_eq!(computed[0].column_by_name("value").unwrap().as_primitive::<Float64Type>().values(), &[6.0]);

    let mut prepared = client.prepare(statement, None).await.unwrap();
    assert_eq!(*prepared.dataset_schema().unwrap(), schema);
    let info = prepared.execute().await.unwrap();
    assert_eq!(rows(&mut client, info).await[0].num_rows(), 1);
    prepared.close().await.unwrap();

    let refused = refusal(client.execute("DROP TABLE up".to_owned(), None).await.unwrap_err());
    assert!(refused.message().contains("SELECT * FROM"), "{refused}");
    let refused = refusal(client.execute_update("DELETE FROM up".to_owned(), None).await.unwrap_err());
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
}

#[tokio::test]
async fn a_driver_is_told_what_the_server_can_do() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let asked = vec![SqlInfo::FlightSqlServerBulkIngestion, SqlInfo::FlightSqlServerName];
    let info = client.get_sql_info(asked).await.unwrap();
    let batches = rows(&mut client, info).await;
    assert_eq!(batches[0].column(0).as_primitive::<UInt32Type>().values(), &[0, 10]);
    let values = batches[0].column(1).as_union();
    assert_eq!(values.value(0).as_string::<i32>().value(0), "MyTSDB");
    assert!(values.value(1).as_boolean().value(0));
}
