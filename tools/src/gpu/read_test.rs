//! Files in memory: all forms, all reasons to leave a row out.

use std::path::Path;

use super::*;

fn options() -> ReadOptions {
    ReadOptions { mapped: Vec::new(), hostname_label: HostnameLabel::Old, job: "dcgm".to_owned() }
}

fn recording(text: &str) -> Recording {
    read(Path::new("x.csv"), text.as_bytes(), &options()).unwrap()
}

fn texts(recording: &Recording) -> Vec<String> {
    let text = |row: &Row| {
        let series = &recording.series[row.series as usize];
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}{{{}}} {} @{}", series.metric, labels.join(","), row.value, row.time_ms)
    };
    recording.rows.iter().map(text).collect()
}

const LONG: &str =
    "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw\n";

#[test]
fn the_long_form_takes_labels_from_the_body_and_fills_gaps_from_columns() {
    let row = r#""2025-07-18T20:42:34Z","DCGM_FI_DEV_GPU_UTIL","0","nvidia0","GPU-1","H100","h1","","","","85","Hostname=""h1"",UUID=""GPU-1"",__name__=""DCGM_FI_DEV_GPU_UTIL"",gpu=""0"",instance=""h1:9400"",job=""dgx"",DCGM_FI_DRIVER_VERSION=""535""""#;
    let recording = recording(&format!("{LONG}{row}\n"));
    assert_eq!(
        texts(&recording),
        ["DCGM_FI_DEV_GPU_UTIL{DCGM_FI_DRIVER_VERSION=535,Hostname=h1,UUID=GPU-1,device=nvidia0,gpu=0,\
          instance=h1:9400,job=dgx,modelName=H100} 85 @1752871354000"]
    );
    let both = ReadOptions { hostname_label: HostnameLabel::Both, ..options() };
    let recording = read(Path::new("x"), format!("{LONG}{row}\n").as_bytes(), &both).unwrap();
    assert_eq!((recording.series[0].label("Hostname"), recording.series[0].label("hostname")), ("h1", "h1"));
}

#[test]
fn wide_forms_have_a_sample_per_cell() {
    let inline =
        recording("gpu_id,utilization,temperature,memory_used\ngpu-001,85.5,72.3,4096\ngpu-002,,70,\n");
    assert_eq!(
        texts(&inline),
        [
            "DCGM_FI_DEV_GPU_UTIL{UUID=gpu-001,gpu=gpu-001,instance=replay,job=dcgm} 85.5 @0",
            "DCGM_FI_DEV_GPU_TEMP{UUID=gpu-001,gpu=gpu-001,instance=replay,job=dcgm} 72.3 @0",
            "DCGM_FI_DEV_FB_USED{UUID=gpu-001,gpu=gpu-001,instance=replay,job=dcgm} 4096 @0",
            "DCGM_FI_DEV_GPU_TEMP{UUID=gpu-002,gpu=gpu-002,instance=replay,job=dcgm} 70 @0",
        ]
    );
    assert!(inline.skipped.is_empty() && !inline.has_times);
    let wide = recording(
        "timestamp,gpu_id,uuid,device,model_name,hostname,gpu_utilization\n1000.5,3,GPU-1,nvidia3,H100,h1,5\n",
    );
    assert_eq!(
        texts(&wide),
        ["DCGM_FI_DEV_GPU_UTIL{Hostname=h1,UUID=GPU-1,device=nvidia3,gpu=3,instance=h1:9400,job=dcgm,\
          modelName=H100} 5 @1000500"]
    );
}

#[test]
fn bad_rows_are_counted_by_reason_with_their_lines_and_cost_their_neighbours_nothing() {
    let good = "2025-07-18 20:42:34,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h1,,,,85,";
    let bad = [
        "2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h1,,,,85",
        "yesterday,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h1,,,,85,",
        "2025-07-18T20:42:34Z,,0,nvidia0,GPU-1,H100,h1,,,,85,",
        "2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h1,,,,high,",
        "2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h1,,,,,",
        "2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h1,,,,9223372036854775794,",
        "2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_UTIL,,,,H100,h1,,,,1,",
        "2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h1,,,,1,\"a=b\"",
    ];
    let recording = recording(&format!("{LONG}{good}\n{}\n{good}\n", bad.join("\n")));
    assert_eq!(recording.rows.len(), 2);
    let found: Vec<_> = recording
        .skipped
        .iter()
        .map(|(reason, rows)| (*reason, rows.count, rows.first_lines.clone()))
        .collect();
    assert_eq!(
        found,
        [
            ("blank", 1, vec![8]),
            ("fields", 1, vec![3]),
            ("identity", 1, vec![9]),
            ("labels", 1, vec![10]),
            ("metric", 1, vec![5]),
            ("time", 1, vec![4]),
            ("value", 2, vec![6, 7]),
        ]
    );
}

#[test]
fn rows_are_played_by_time_and_gpu_by_gpu() {
    let row = |second: u32, metric: &str, gpu: &str| format!("{second},{metric},0,nvidia0,{gpu},m,h,,,,1,\n");
    let text = [
        row(2, "DCGM_A", "GPU-1"),
        row(1, "DCGM_A", "GPU-1"),
        row(1, "DCGM_A", "GPU-2"),
        row(1, "DCGM_B", "GPU-1"),
    ];
    let recording = recording(&format!("{LONG}{}", text.concat()));
    let order: Vec<_> = recording.rows.iter().map(|row| (row.time_ms, row.series)).collect();
    assert_eq!(order, [(1000, 0), (1000, 2), (1000, 1), (2000, 0)]);
    assert_eq!((recording.end_ms(), recording.loop_ms()), (2000, 2000));
}

#[test]
fn what_cannot_be_played_is_an_error_that_says_why() {
    for (text, part) in [
        ("", "empty"),
        ("uuid,utilization\n", "no row"),
        ("uuid,utilization\nGPU-1,high\n", "\"value\""),
        ("uuid,colour\n", "colour"),
    ] {
        let error = read(Path::new("x.csv"), text.as_bytes(), &options()).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("x.csv"), "{error}");
    }
    let error = read_file(Path::new("/nonexistent.csv"), &options()).unwrap_err().to_string();
    assert!(error.contains("/nonexistent.csv"), "{error}");
}
