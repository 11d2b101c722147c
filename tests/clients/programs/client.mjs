// Node's fetch, and its http module for what fetch refuses to send; see runner.py.
import { readFileSync } from "node:fs";
import http from "node:http";

const [server, relay, folder] = process.argv.slice(2);
const read = (name) => readFileSync(`${folder}/${name}`);
const json = { "Content-Type": "application/json" };
const invocations = `${server}/invocations`;
const infer = `${server}/v2/models/wine/infer`;

function report(name, status, body) {
  console.log(`${name}\t${status}\t${Buffer.from(body).toString("base64")}`);
}

async function send(name, url, options = {}) {
  const response = await fetch(url, options);
  report(name, response.status, await response.arrayBuffer());
}

function post(name, url, body, headers = {}) {
  return send(name, url, { method: "POST", headers: { ...json, ...headers }, body });
}

function expectContinue(name, url, body) {
  const headers = { ...json, Expect: "100-continue", "Content-Length": body.length };
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: "POST", headers });
    request.on("error", reject);
    request.on("continue", () => request.end(body)); // never sent, unless the server asks for it
    request.on("response", async (response) => {
      const parts = [];
      for await (const part of response) parts.push(part);
      resolve(report(name, response.statusCode, Buffer.concat(parts)));
    });
    request.flushHeaders();
  });
}

await post("invocations", invocations, read("invocations"));
await post("infer", infer, read("infer"));
for (let i = 0; i < 100; i++) {
  await post("keep-alive", `${relay}/invocations`, read("invocations"));
}
const large = new Blob([read("large")]).stream();
await send("chunked", invocations, { method: "POST", headers: json, body: large, duplex: "half" });
await send("head", `${server}/ping`, { method: "HEAD" });
await send("head", `${server}/ping`);
await expectContinue("expect-continue", invocations, read("invocations"));
await post("gzip", invocations, read("gzip"), { "Content-Encoding": "gzip" });
await post("wrong", invocations, read("wrong"));
await post("wrong-infer", infer, read("wrong"));
