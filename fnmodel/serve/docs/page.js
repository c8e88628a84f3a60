"use strict";
// Names and texts are the model's and may hold anything: they become text nodes, never markup.
const doc = JSON.parse(document.getElementById("document").textContent);
const $ = (id) => document.getElementById(id);
const MOST_FIELDS = 200;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const WHOLE = /^-?(0|[1-9]\d*)(\.0+)?$/;

const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

const resolve = (value) => {
  while (value?.$ref) {
    value = value.$ref.slice(2).split("/").reduce((inner, name) => inner[name], doc);
  }
  return value;
};

// ------------------------------------------------------------------ what there is to send

// Groups for other servers' clients stay closed, and out of the form.
const folded = new Set(doc.tags.filter((tag) => tag["x-folded"]).map((tag) => tag.name));
const calls = Object.entries(doc.paths).flatMap(([path, item]) => {
  if (folded.has(item.post?.tags[0])) return [];
  const content = item.post?.requestBody.content["application/json"];
  if (!content) return [];
  const records = resolve(content.schema)?.properties?.records;
  const record = records && resolve(records.items);
  const example = content.examples?.typical?.value;
  const fields = record ? Object.entries(record.properties) : [];
  const required = record?.required ?? [];
  return [{ path, summary: item.post.summary, example, fields, required }];
});
let call = calls[0];
let raw = false;
let inputs = [];

const typesOf = (schema) => [schema.type].flat();

const choices = (schema) => {
  if (schema.enum) return schema.enum;
  if (!typesOf(schema).includes("boolean")) return null;
  return typesOf(schema).includes("null") ? [true, false, null] : [true, false];
};

const control = (schema, value) => {
  const known = choices(schema);
  if (known) {
    // Values are JSON, so that the text "1" and the number 1 stay apart.
    const options = known.map((one) =>
      make("option", { value: JSON.stringify(one), textContent: one === null ? "missing" : one }));
    const select = make("select", {}, ...options);
    if (value !== undefined) select.value = JSON.stringify(value);
    return select;
  }
  const numeric = typesOf(schema).some((type) => type === "number" || type === "integer");
  const mode = numeric ? "decimal" : "text";
  return make("input", { value: value ?? "", inputMode: mode, autocomplete: "off" });
};

const field = ([name, schema], position) => {
  const known = call.example?.records?.[0] ?? {};
  const value = Object.hasOwn(known, name) ? known[name] : undefined;
  const input = Object.assign(control(schema, value), { id: `field${position}` });
  input.setAttribute("aria-describedby", `hint${position}`);
  const needed = call.required.includes(name);
  if (needed) input.setAttribute("aria-required", "true");
  const label = make("label", { htmlFor: input.id }, name);
  if (!needed) label.append(make("span", { textContent: " (may be missing)" }));
  const hint = make("span", { className: "hint", id: `hint${position}` }, schema.description ?? "");
  inputs.push({ name, schema, needed, input, hint });
  return make("div", { className: "field" }, label, input, hint);
};

// The value as JSON text, so that no digit is lost on its way; undefined where it is left out.
const literal = ({ schema, needed, input }) => {
  if (input.tagName === "SELECT") return input.value;
  const types = typesOf(schema);
  const text = input.value;
  if (types.includes("string")) return text === "" && !needed ? undefined : JSON.stringify(text);
  const digits = text.trim();
  if (digits === "") {
    if (!needed) return undefined;
    throw new Error("a number is needed");
  }
  if (!NUMBER.test(digits)) throw new Error(`${digits} is not a number`);
  if (types.includes("integer") && !WHOLE.test(digits)) throw new Error(`${digits} is not whole`);
  return digits;
};

// The body as JSON text, and what is wrong with each field.
const read = () => {
  if (raw) return { body: $("body").value, wrong: [] };
  const pairs = [];
  const wrong = [];
  for (const one of inputs) {
    try {
      const value = literal(one);
      if (value !== undefined) pairs.push(`${JSON.stringify(one.name)}: ${value}`);
    } catch (error) {
      wrong.push({ ...one, text: error.message });
    }
  }
  return { body: `{"records": [{${pairs.join(", ")}}]}`, wrong };
};

// ------------------------------------------------------------------ who is calling

const SCHEMES = {
  none: { text: "none" },
  api_key: { text: "API key", header: "x-api-key", prefix: "", variable: "FNMODEL_API_KEY" },
  jwt: { text: "token", header: "authorization", prefix: "Bearer ", variable: "FNMODEL_TOKEN" },
  iam: { text: "AWS signature" },
};
const stage = doc.security?.[0] && Object.keys(doc.security[0])[0];
const offered = stage ? [stage] : doc.security ? ["none"] : Object.keys(SCHEMES);
const scheme = () => SCHEMES[$("scheme").value];
const signs = () => $("scheme").value === "iam";

const showCredentials = () => {
  $("credentials").hidden = offered.length === 1 && !scheme().header;
  $("secret").hidden = !scheme().header;
  $("send").disabled = signs();
  $("notice").hidden = !signs();
  $("notice").textContent =
    "A page cannot sign with AWS credentials. Send the curl line below, or use `fnmodel invoke`.";
};

// ------------------------------------------------------------------ the same from elsewhere

// Paths begin where this page lies, which may be below others. A copy on disk asks the server.
const base = () => (location.protocol.startsWith("http")
  ? new URL(".", location.href).href.replace(/\/$/, "")
  : doc.servers[0].url);
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const region = () => /\.execute-api\.([a-z0-9-]+)\./.exec(base())?.[1] ?? "$AWS_REGION";

const curlLine = (body) => {
  const words = [`curl ${quoted(base() + call.path)}`, `-H 'content-type: application/json'`];
  const { header, prefix, variable } = scheme();
  if (header) words.push(`-H "${header}: ${prefix}$${variable}"`);
  if (signs()) {
    words.push(`--aws-sigv4 "aws:amz:${region()}:execute-api"`);
    words.push(`--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"`);
    words.push(`-H "x-amz-security-token: $AWS_SESSION_TOKEN"`);
  }
  return [...words, `--data-raw ${quoted(body)}`].join(" \\\n  ");
};

// Strings and numbers of JSON are Python's too, but for an escaped slash.
const PYTHON = { true: "True", false: "False", null: "None" };
const pythonValue = (json) => json.replace(/"(?:[^"\\]|\\.)*"|\btrue\b|\bfalse\b|\bnull\b/g, (one) =>
  PYTHON[one] ?? one.replace(/\\(.)/g, (escaped, c) => (c === "/" ? c : escaped)));

const pythonLines = (body) => {
  const { header, prefix, variable } = scheme();
  const secret = header && `${prefix && `"${prefix}" + `}os.environ["${variable}"]`;
  const headers = `{"content-type": "application/json"${secret ? `, "${header}": ${secret}` : ""}}`;
  const start = ["import json", ...(header ? ["import os"] : []), "import urllib.request", ""];
  const url = JSON.stringify(base() + call.path);
  const given = [`url = ${url}`, `body = ${pythonValue(body)}`, `headers = ${headers}`];
  if (!signs()) {
    return [...start, ...given,
      "request = urllib.request.Request(url, json.dumps(body).encode(), headers)",
      "print(json.load(urllib.request.urlopen(request)))"].join("\n");
  }
  return [...start, "import boto3", "from botocore.auth import SigV4Auth",
    "from botocore.awsrequest import AWSRequest", "", ...given,
    `signed = AWSRequest("POST", url, headers, json.dumps(body).encode())`,
    "session = boto3.Session()",
    `signer = SigV4Auth(session.get_credentials(), "execute-api", session.region_name)`,
    "signer.add_auth(signed)",
    "request = urllib.request.Request(signed.url, signed.data, dict(signed.headers))",
    "print(json.load(urllib.request.urlopen(request)))"].join("\n");
};

const showCode = () => {
  const { body } = read();
  $("curl").textContent = curlLine(body);
  $("python").textContent = pythonLines(body);
};

// ------------------------------------------------------------------ sending and showing

const showForm = () => {
  const possible = call.fields.length > 0 && call.fields.length <= MOST_FIELDS;
  raw = raw || !possible;
  $("mode").hidden = !possible;
  $("mode").setAttribute("aria-pressed", raw);
  $("fields").hidden = raw;
  $("raw").hidden = !raw;
  showCode();
};

const chosen = () => {
  call = calls[$("operation").selectedIndex];
  inputs = [];
  raw = false;
  const drawn = call.fields.length <= MOST_FIELDS ? call.fields.map(field) : [];
  $("fields").replaceChildren($("fields").querySelector("legend"), ...drawn);
  $("body").value = pretty(call.example ?? {});
  showForm();
};

// Lists of plain values stand in one line each.
const pretty = (value) => JSON.stringify(value, null, 2).replace(
  /\[\n\s+([^[\]{}]*?)\n\s+\]/g, (_, inner) => `[${inner.replace(/\n\s+/g, " ")}]`);

// A long path breaks after a slash.
const parted = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, make("wbr")]);

const shown = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

const score = (name, value) => {
  const percent = typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "—";
  const meter = make("meter", { value: value ?? 0, max: 1 });
  meter.setAttribute("aria-label", name);
  return make("div", { className: "score" },
    make("span", {}, name), meter, make("span", {}, percent));
};

const prediction = (one) => {
  const head = one?.label ?? one?.value;
  if (head === undefined) return [];
  const scores = Object.entries(one.probabilities ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 10);
  const strong = make("strong", {}, shown(head));
  return [make("div", { className: "prediction" }, strong, ...scores.map((s) => score(...s)))];
};

const showAnswer = (status, good, text, parsed) => {
  $("status").replaceChildren(make("span", { className: good ? "good" : "bad" }, status[0]),
    ...status.slice(1).map((part) => ` · ${part}`));
  $("predictions").replaceChildren(...(parsed?.predictions ?? []).slice(0, 10).flatMap(prediction));
  $("json").hidden = !text;
  $("json").textContent = parsed === undefined ? text : pretty(parsed);
};

const send = async (body) => {
  const headers = { "content-type": "application/json" };
  const { header, prefix } = scheme();
  if (header && $("secret").value) headers[header] = prefix + $("secret").value;
  const started = performance.now();
  const signal = AbortSignal.timeout(60000);
  const answer = await fetch(base() + call.path, { method: "POST", headers, body, signal });
  const text = await answer.text();
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined; // shown as the text that it is
  }
  const told = [["version", "x-model-version"], ["request", "x-request-id"]]
    .map(([word, name]) => [word, answer.headers.get(name)])
    .filter(([, value]) => value).map((pair) => pair.join(" "));
  const milliseconds = `${Math.round(performance.now() - started)} ms`;
  showAnswer([`${answer.status} ${answer.statusText}`.trim(), milliseconds, ...told],
    answer.ok, text, parsed);
};

const submitted = async (event) => {
  event.preventDefault();
  const { body, wrong } = read();
  for (const one of inputs) one.input.removeAttribute("aria-invalid");
  for (const one of wrong) one.input.setAttribute("aria-invalid", "true");
  $("problem").textContent = wrong.map((one) => `${one.name}: ${one.text}`).join("; ");
  if (wrong.length) return wrong[0].input.focus();
  $("send").disabled = true;
  $("status").textContent = "Waiting …";
  try {
    await send(body);
  } catch (error) {
    showAnswer(["No answer", error.message], false, "", undefined);
  }
  $("send").disabled = signs();
  $("answer").scrollIntoView({ block: "nearest" });
};

const copied = async (event) => {
  const from = $(event.target.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    event.target.textContent = "Copied";
    setTimeout(() => { event.target.textContent = "Copy"; }, 1500);
  } catch { // only pages over https may, and those of this machine
    getSelection().selectAllChildren(from);
  }
};

const toggled = () => {
  if (!raw) $("body").value = read().body;
  raw = !raw;
  showForm();
};

$("title").append(doc.info.title, make("small", {}, ` version ${doc.info.version}`));
$("about").textContent = doc.info.description.replaceAll("`", "");
$("operation").append(...calls.map((one) =>
  make("option", { textContent: `${one.summary} – POST ${one.path}` })));
$("scheme").append(...offered.map((name) =>
  make("option", { value: name, textContent: SCHEMES[name].text })));
const rows = (fits) => Object.entries(doc.paths).flatMap(([path, item]) =>
  Object.entries(item).filter(([, one]) => fits(one.tags[0])).map(([method, one]) => make("tr", {},
    make("td", {}, method.toUpperCase()), make("td", {}, ...parted(path)), make("td", {}, one.summary))));
$("table").append(...rows((tag) => !folded.has(tag)));
$("folded").append(...doc.tags.filter((tag) => folded.has(tag.name)).map((tag) =>
  make("details", {}, make("summary", {}, tag.description),
    make("table", {}, make("tbody", {}, ...rows((name) => name === tag.name))))));
$("operation").addEventListener("change", chosen);
$("scheme").addEventListener("change", () => { showCredentials(); showCode(); });
$("form").addEventListener("input", showCode);
$("form").addEventListener("submit", submitted);
$("mode").addEventListener("click", toggled);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", copied);
}
showCredentials();
chosen();
