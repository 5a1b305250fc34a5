// The server of KafkaSSE's own README, with a page that shows that it is up: node kafkasse.js PORT BROKERS

const [, , port, brokers] = process.argv;
const { createRequire } = require("node:module");
const kafkaSse = createRequire(process.cwd() + "/")("kafka-sse");

require("node:http").createServer((request, response) => {
  if (request.url === "/healthz") return response.end("ok");
  const topics = request.url.replace("/", "").split(",");
  return kafkaSse(request, response, topics, { kafkaConfig: { "metadata.broker.list": brokers } }).catch(() => {});
}).listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
