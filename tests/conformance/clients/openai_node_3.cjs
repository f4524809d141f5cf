// The official client for Node, 3.x: the calls of the two documents that the project started from.
// usage: node openai_node_3.cjs FOLDER-OF-EXAMPLES FOLDER-OF-NODE_MODULES, with OPENAI_BASE_URL and OPENAI_API_KEY set
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");

const [examples, modules] = process.argv.slice(2);
const own = require("node:module").createRequire(path.join(modules, "index.js"));
const { Configuration, OpenAIApi } = own("openai");
const configuration = new Configuration({
  apiKey: process.env.OPENAI_API_KEY,
  basePath: process.env.OPENAI_BASE_URL,
});
const openai = new OpenAIApi(configuration);
const otter = path.join(examples, "otter.png");
const mask = path.join(examples, "otter_mask.png");

async function main() {
  let response = await openai.createImage({ prompt: "a white siamese cat", n: 1, size: "256x256" });
  assert.match(response.data.data[0].url, /^http:/);
  response = await openai.createImageEdit(
    fs.createReadStream(otter),
    fs.createReadStream(mask),
    "an otter with a beret",
    2,
    "256x256",
  );
  assert.equal(response.data.data.length, 2);
  response = await openai.createImageVariation(fs.createReadStream(otter), 1, "256x256");
  assert.equal(response.data.data.length, 1);

  // "In-memory image data": a Buffer that looks like a file on disk, because it has a name
  const buffer = fs.readFileSync(otter);
  buffer.name = "image.png";
  response = await openai.createImageVariation(buffer, 1, "256x256");
  assert.equal(response.data.data.length, 1);

  // "Error handling"
  buffer.name = "image.txt";
  try {
    await openai.createImageVariation(buffer.subarray(0, 100), 1, "1024x1024");
    assert.fail("a torn picture was taken");
  } catch (error) {
    if (!error.response) throw error;
    assert.equal(error.response.status, 400);
    assert.ok(error.response.data.error.message);
  }
  console.log(`openai (Node) ${own("openai/package.json").version}`);
}

main().catch((error) => {
  console.error(error.response ? error.response.data.error.message : error);
  process.exit(1);
});
