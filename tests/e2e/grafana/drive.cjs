// Grafana's own Prometheus data source against a server: what it does at start, in its editor, for variables and panels.
//
// usage: node drive.cjs FOLDER ADDRESS NOW_MS    (FOLDER holds node_modules with @grafana/prometheus)
//
// The data source, its language provider, its resource clients, its variables and its transformer are Grafana's. In
// place of Grafana's runtime stands what its browser and backend would do: getResource, postResource and query become
// HTTP requests to the server, query as pkg/promlib sends it. React, the widgets and the editor are not loaded.
// Prints a line of JSON per request and per step; ends with a status other than 0 when a step fails.
"use strict";

const Module = require("module");
const path = require("path");
const [folder, address, nowText] = process.argv.slice(2);
const load = Module.createRequire(path.resolve(folder, "node_modules", "x.js"));
const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// The browser, as far as modules look at it when they are loaded.
const nothing = new Proxy(function () {}, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => "" : key === "then" || key === Symbol.iterator ? undefined : nothing),
  apply: () => nothing,
  construct: () => nothing,
});
globalThis.window ??= Object.assign(new EventTarget(), { location: { search: "", origin: "http://grafana" } });
globalThis.document ??= nothing;
globalThis.localStorage ??= { getItem: () => null, setItem() {}, removeItem() {} };

const { Observable } = load("rxjs");
const data = loadData();

function loadData() {
  stub();
  return load("@grafana/data");
}

/** Modules of the user interface become nothing, Grafana's runtime becomes ours. */
function stub() {
  const widgets = /^(react|react\/.*|react-.*|@grafana\/(ui|i18n|e2e-selectors|plugin-ui|schema|assistant).*|@emotion\/.*|@floating-ui\/.*|@hello-pangea\/.*|@leeoniya\/ufuzzy|monaco-.*|prismjs.*|uuid|debounce-promise)$/;
  const original = Module._load;
  Module._load = function (name, ...rest) {
    if (name === "@grafana/runtime") return runtime;
    if (widgets.test(name)) return nothing;
    return original.call(this, name, ...rest);
  };
}

class FetchError extends Error {
  constructor(status, body) {
    super(`${status}: ${body}`);
    Object.assign(this, { status, data: body });
  }
}

async function send(method, resource, parameters) {
  const form = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) if (one != null) form.append(key, one);
  }
  const url = `http://${address}/${resource.replace(/^\/+/, "")}`;
  const response =
    method === "GET"
      ? await fetch(form.size ? `${url}?${form}` : url)
      : await fetch(url, { method, body: form.toString(), headers: { "Content-Type": "application/x-www-form-urlencoded" } });
  const body = await response.text();
  print({ request: `${method} /${resource.replace(/^\/+/, "")}`, parameters: [...form.keys()], status: response.status });
  if (!response.ok) throw new FetchError(response.status, body);
  return JSON.parse(body);
}

class DataSourceWithBackend {
  constructor(settings) {
    Object.assign(this, { name: settings.name, uid: settings.uid, id: settings.id, type: settings.type, meta: {} });
  }
  getRef() {
    return { type: this.type, uid: this.uid };
  }
  getResource(resource, parameters) {
    return send("GET", resource, parameters);
  }
  postResource(resource, parameters) {
    return send("POST", resource, parameters);
  }
  /** As pkg/promlib: times in seconds, the step from the interval, one frame per series. */
  query(request) {
    return new Observable((observer) => {
      Promise.all(request.targets.filter((target) => this.filterQuery(target)).map((target) => this.target(target, request)))
        .then((frames) => {
          observer.next({ data: frames.flat(), state: "Done" });
          observer.complete();
        })
        .catch((error) => observer.error(error));
    });
  }
  async target(target, request) {
    const { expr } = this.applyTemplateVariables(target, request.scopedVars, request.filters);
    const query = expr.replaceAll("$__rate_interval", "1m").replaceAll("$__interval", "15s");
    const [start, end] = [request.range.from.valueOf() / 1000, request.range.to.valueOf() / 1000];
    const frames = [];
    if (target.exemplar) {
      await send("POST", "api/v1/query_exemplars", { query, start, end });
    }
    const answer = target.instant
      ? await send("POST", "api/v1/query", { query, time: end })
      : await send("POST", "api/v1/query_range", { query, start, end, step: request.intervalMs / 1000 });
    const format = target.format ?? "time_series";
    for (const series of answer.data.result) {
      const points = series.values ?? [series.value];
      frames.push(
        data.toDataFrame({
          refId: target.refId,
          meta: { custom: { resultType: answer.data.resultType } },
          fields: [
            { name: "Time", type: "time", values: points.map((point) => point[0] * 1000), config: {} },
            { name: "Value", type: "number", labels: series.metric, values: points.map((point) => Number(point[1])), config: {} },
          ],
        }),
      );
    }
    if (answer.status !== "success" || !format) throw new Error(JSON.stringify(answer));
    return frames;
  }
}

const templates = {
  getVariables: () => [],
  containsTemplate: (text) => /\$/.test(text ?? ""),
  replace: (text, scoped) =>
    (text ?? "").replace(/\$\{?(\w+)\}?/g, (whole, name) => String(scoped?.[name]?.value ?? whole)),
};
const runtime = {
  DataSourceWithBackend,
  config: { featureToggles: {}, publicDashboardAccessToken: "" },
  getTemplateSrv: () => templates,
  getBackendSrv: () => nothing,
  getDataSourceSrv: () => nothing,
  isFetchError: (error) => error instanceof FetchError,
  reportInteraction() {},
  DataSourcePicker: nothing,
};

async function main() {
  const root = path.dirname(load.resolve("@grafana/prometheus/package.json"));
  const { PrometheusDatasource } = require(path.join(root, "dist/cjs/datasource.cjs"));
  const source = new PrometheusDatasource({
    id: 1, uid: "mytsdb", name: "MyTSDB", type: "prometheus", access: "proxy", url: "/proxy",
    jsonData: { httpMethod: "POST" },
  });
  const now = Number(nowText);
  const range = { from: data.dateTime(now - 3600_000), to: data.dateTime(now) };
  range.raw = range;
  const panel = (target) => ({
    app: "dashboard", requestId: "Q1", panelId: 1, timezone: "utc", range, intervalMs: 15_000, interval: "15s",
    maxDataPoints: 1000, scopedVars: {}, startTime: now, targets: [{ refId: "A", range: true, ...target }],
  });
  const run = (target) => new Promise((resolve, reject) => source.query(panel(target)).subscribe({ next: resolve, error: reject }));
  const provider = source.languageProvider;
  const steps = {
    // pkg/promlib/healthcheck.go
    health: async () => {
      const { data } = await send("POST", "api/v1/query", { query: "1+1", time: 4 });
      const build = await send("GET", "api/v1/status/buildinfo");
      return data.resultType === "scalar" && data.result[1] === "2" && build.data.features === undefined;
    },
    init: async () => {
      await source.init();
      await source.loadRules();
      return source.exemplarsAvailable === true;
    },
    start: async () => {
      await provider.start(range);
      return provider.retrieveMetrics().includes("requests_total");
    },
    metadata: async () => typeof (await provider.queryMetricsMetadata()) === "object",
    labelKeys: async () => (await provider.queryLabelKeys(range, '{__name__="requests_total"}')).includes("job"),
    labelValues: async () => (await provider.queryLabelValues(range, "job", "requests_total")).join() === "api,web",
    allLabelValues: async () => (await provider.queryLabelValues(range, "job")).join() === "api,web",
    utf8LabelValues: async () => (await provider.queryLabelValues(range, "host.name")).join() === "a",
    tagKeys: async () =>
      (await source.getTagKeys({ filters: [{ key: "job", operator: "=", value: "api" }], timeRange: range, queries: [] }))
        .some((key) => key.text === "instance"),
    tagValues: async () =>
      (await source.getTagValues({ key: "instance", filters: [{ key: "job", operator: "=", value: "api" }], timeRange: range, queries: [] }))
        .map((value) => value.text).join() === "a:1,b:1",
    variables: async () => {
      const texts = {};
      for (const query of ["label_names()", "label_names(requests)", "label_values(job)", "label_values(requests_total, instance)",
        'label_values(requests_total{job=~"api|web"}, job)', "metrics(req.*)", "query_result(sum by (job) (requests_total))",
        "query_result(time())", 'requests_total{job="api"}']) {
        texts[query] = (await source.metricFindQuery(query, { range })).map((found) => found.text);
      }
      print({ variables: texts });
      return Object.values(texts).every((found) => found.length > 0) && texts["label_values(job)"].join() === "api,web";
    },
    series: async () => {
      const answer = await source.metadataRequest("/api/v1/series", { "match[]": "requests_total", limit: 2, ...source.getTimeRangeParams(range) });
      return answer.data.data.length === 2;
    },
    rangeQuery: async () => (await run({ expr: "sum by (job) (rate(requests_total[$__rate_interval]))" })).data.length === 2,
    instantQuery: async () => (await run({ expr: "topk(1, requests_total)", instant: true, range: false })).data.length === 1,
    tableQuery: async () => (await run({ expr: "requests_total", instant: true, range: false, format: "table" })).data.length === 1,
    heatmapQuery: async () => (await run({ expr: "sum by (le) (rate(latency_bucket[5m]))", format: "heatmap" })).data.length >= 1,
    exemplarQuery: async () => (await run({ expr: "rate(latency_bucket[5m])", exemplar: true })).data.length >= 1,
    adhocQuery: async () => {
      const expr = source.enhanceExprWithAdHocFilters([{ key: "job", operator: "=~", value: "a.*" }], "sum(requests_total)");
      return (await run({ expr })).data.length === 1;
    },
    utf8Query: async () => (await run({ expr: '{"disk.free", "host.name"="a"}' })).data.length === 1,
    errorIsSeen: async () => run({ expr: "sum(" }).then(() => false, (error) => /parse error/.test(error.data)),
  };
  let failed = 0;
  for (const [name, step] of Object.entries(steps)) {
    try {
      const holds = await step();
      failed += holds ? 0 : 1;
      print({ step: name, holds });
    } catch (error) {
      failed += 1;
      print({ step: name, holds: false, error: String(error.stack).slice(0, 600) });
    }
  }
  process.exitCode = failed ? 1 : 0;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 2;
});
