// Worker threads, a shared buffer with Atomics, a child process, and an HTTP server.
// SPDX-License-Identifier: Apache-2.0
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const { createHash } = require("crypto");
const { spawn } = require("child_process");
const fs = require("fs");
const http = require("http");
const GATE = process.env.GATE;

function work(number, round) {
  const kept = new Map();
  let text = `${number} ${round}`;
  for (let i = 0; i < 300; i++) {
    text = createHash("sha256").update(text).digest("hex");
    kept.set(text.slice(0, 2), { text, list: Array.from({ length: 50 }, (_, k) => k * i) });
  }
  return text + kept.size;
}

function worker() {
  const counter = new Int32Array(workerData.shared);
  parentPort.on("message", (round) => {
    Atomics.add(counter, 0, 1);
    parentPort.postMessage({ round, answer: work(workerData.number, round) });
  });
}

function get(port, path) {
  return new Promise((resolve, reject) => {
    http.get({ port, path, agent }, (answer) => {
      let text = "";
      answer.on("data", (data) => (text += data)).on("end", () => resolve(text));
    }).on("error", reject);
  });
}
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });

async function main() {
  const shared = new SharedArrayBuffer(4);
  const workers = [0, 1, 2].map((number) => new Worker(__filename, { workerData: { number, shared } }));
  const server = http.createServer((question, answer) => answer.end(question.url.slice(1)));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const cat = spawn("cat");
  let rounds = 0;
  fs.writeFileSync(`${GATE}.ready`, "");
  while (rounds < 30 || !fs.existsSync(`${GATE}.go`)) {
    const answers = workers.map((one) => new Promise((done) => one.once("message", done)));
    workers.forEach((one) => one.postMessage(rounds));
    (await Promise.all(answers)).forEach(({ round, answer }, number) => {
      if (round !== rounds || answer !== work(number, round)) throw Error(`round ${rounds}`);
    });
    if ((await get(server.address().port, `/round${rounds}`)) !== `round${rounds}`)
      throw Error("http");
    const echo = new Promise((done) => cat.stdout.once("data", done));
    cat.stdin.write(`${rounds}\n`);
    if (String(await echo) !== `${rounds}\n`) throw Error("cat");
    rounds++;
    fs.writeFileSync(`${GATE}.alive`, "");
  }
  if (new Int32Array(shared)[0] !== 3 * rounds) throw Error("counter");
  cat.stdin.end();
  agent.destroy();
  server.close();
  await Promise.all(workers.map((one) => one.terminate()));
  console.log("ok");
}

if (isMainThread) main();
else worker();
