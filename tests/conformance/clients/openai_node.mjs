// The official client for Node, the newest: each image call with each kind of upload.
// usage: node openai_node.mjs FOLDER-OF-EXAMPLES FOLDER-OF-NODE_MODULES, with OPENAI_BASE_URL and OPENAI_API_KEY set
import assert from "node:assert/strict";
import { File } from "node:buffer";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [examples, modules] = process.argv.slice(2);
const require = createRequire(path.join(modules, "index.js"));
const { default: OpenAI, toFile } = require("openai");
const openai = new OpenAI({ maxRetries: 0 });
const otter = path.join(examples, "otter.png");
const mask = path.join(examples, "otter_mask.png");
const size = "256x256";

const made = await openai.images.generate({ prompt: "a white siamese cat", n: 2, size });
for (const image of made.data) {
  const bytes = Buffer.from(await (await fetch(image.url)).arrayBuffer());
  assert.equal(bytes.subarray(1, 4).toString(), "PNG");
}

const edited = await openai.images.edit({
  image: fs.createReadStream(otter),
  mask: fs.createReadStream(mask),
  prompt: "an otter with a beret",
  n: 2,
  size,
});
assert.equal(edited.data.length, 2);

const buffer = fs.readFileSync(otter);
const uploads = [
  fs.createReadStream(otter),
  await toFile(buffer, "image.png"),
  new File([buffer], "blob", { type: "application/octet-stream" }),
  await fetch(`data:image/png;base64,${buffer.toString("base64")}`),
];
for (const image of uploads) {
  const varied = await openai.images.createVariation({ image, size, response_format: "b64_json" });
  assert.equal(Buffer.from(varied.data[0].b64_json, "base64").subarray(1, 4).toString(), "PNG");
}

const several = await openai.images.edit({
  model: "gpt-image-1",
  image: [
    await toFile(buffer, "a.png", { type: "image/png" }),
    await toFile(buffer, "b.png", { type: "image/png" }),
  ],
  prompt: "two otters",
});
assert.ok(several.usage.output_tokens > 0);

const types = [];
const stream = await openai.images.generate({
  model: "gpt-image-1",
  prompt: "a fox",
  stream: true,
  partial_images: 2,
});
for await (const event of stream) types.push(event.type);
assert.deepEqual(types, [
  "image_generation.partial_image",
  "image_generation.partial_image",
  "image_generation.completed",
]);

await assert.rejects(openai.images.generate({ prompt: "a", n: 11 }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "n");
  return true;
});

const file = await openai.files.create({ file: await toFile(buffer, "a.png"), purpose: "vision" });
assert.equal(file.bytes, buffer.length);
await openai.files.delete(file.id);

const described = fs.readFileSync(path.join(modules, "node_modules/openai/package.json"));
console.log(`openai (Node) ${JSON.parse(described).version}`);
