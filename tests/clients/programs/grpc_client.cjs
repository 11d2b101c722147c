// gRPC for Node, from the protocol's descriptors: grpc_client.cjs ADDRESS DESCRIPTORS.
const { readFileSync } = require("node:fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, descriptors] = process.argv.slice(2);
const definition = loader.loadFileDescriptorSetFromBuffer(readFileSync(descriptors), {
  keepCase: true,
  longs: Number,
});
const Service = grpc.loadPackageDefinition(definition).inference.GRPCInferenceService;
const client = new Service(address, grpc.credentials.createInsecure());

function call(method, message) {
  return new Promise((resolve) => {
    const deadline = Date.now() + 240_000;
    client[method](message, { deadline }, (error, response) =>
      resolve(error ? { code: error.code, details: error.details } : response),
    );
  });
}

function tensor(values, shape) {
  return { name: "rows", datatype: "FP64", shape, contents: { fp64_contents: values } };
}

async function main() {
  const rows = JSON.parse(readFileSync(0)); // of 13 numbers each
  const shape = [rows.length, rows[0].length];
  const model_name = "wine";
  const typed = { model_name, id: "7", inputs: [tensor(rows.flat(), shape)] };
  const { contents, ...without } = tensor([], shape);
  const raw = Buffer.from(Float64Array.from(rows.flat()).buffer);
  const answers = {
    live: await call("ServerLive", {}),
    ready: await call("ModelReady", { name: model_name }),
    metadata: await call("ModelMetadata", { name: model_name }),
    typed: await call("ModelInfer", typed),
    raw: await call("ModelInfer", {
      model_name,
      inputs: [without],
      raw_input_contents: [raw],
    }),
    wrong: await call("ModelInfer", { model_name, inputs: [tensor([1], [9, 9])] }),
    absent: await call("ModelInfer", { ...typed, model_name: "beer" }),
    large: await call("ModelInfer", { ...typed, raw_input_contents: [Buffer.alloc(5_000_000)] }),
    many: [],
  };
  for (let i = 0; i < 100; i++) {
    answers.many.push((await call("ModelInfer", typed)).id);
  }
  console.log(JSON.stringify(answers, (_, value) =>
    value?.type === "Buffer" ? Buffer.from(value.data).toString("base64") : value));
  client.close();
}

main();
