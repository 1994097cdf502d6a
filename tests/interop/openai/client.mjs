// OpenAI's own client at a node's door: everything is bought by `base_url` and key alone. Says what it
// got as JSON; the test that started it decides.
import OpenAI, { PermissionDeniedError } from "openai";

const model = "bursar-scribe-1";
const messages = [{ role: "user", content: "what is a hold" }];
const attempts = [];
const counted = (input, init) => {
  attempts.push(String(input));
  return fetch(input, init);
};
const client = new OpenAI({ fetch: counted });

const models = [];
for await (const one of client.models.list()) models.push(one.id);

const whole = await client.chat.completions.create({ model, messages, max_tokens: 20 });

let streamed = "";
let counts = null;
const stream = await client.chat.completions.create({
  model, messages, max_tokens: 20, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  counts = chunk.usage ?? counts;
}

const written = await client.completions.create({ model, prompt: "a hold is", max_tokens: 5 });

const answer = await client.responses.create({ model, input: "what is a hold", max_output_tokens: 20 });
let spoken = "";
let completed = null;
const events = await client.responses.create({
  model, input: "what is a hold", max_output_tokens: 20, stream: true,
});
for await (const event of events) {
  if (event.type === "response.output_text.delta") spoken += event.delta;
  if (event.type === "response.completed" || event.type === "response.incomplete") completed = event.response;
}

const vectors = await client.embeddings.create({ model: "bursar-embed-1", input: ["a hold", "a void"] });

const before = attempts.length;
const poor = new OpenAI({ fetch: counted, apiKey: process.env.POOR_API_KEY });
let refused = null;
try {
  await poor.chat.completions.create({ model, messages, max_tokens: 20 });
} catch (error) {
  refused = { kind: error instanceof PermissionDeniedError, status: error.status, code: error.code };
}
const unknown = new OpenAI({ fetch: counted, apiKey: "bat_nobody" });
let stranger = null;
try {
  await unknown.chat.completions.create({ model, messages });
} catch (error) {
  stranger = error.status;
}

console.log(JSON.stringify({
  models,
  whole: whole.choices[0].message.content,
  charged: whole.usage.bursar.charged_usd,
  streamed,
  streamed_charged: counts?.bursar?.charged_usd,
  written: written.choices[0].text.length,
  answer: answer.output_text,
  spoken,
  completed: completed?.output?.[0]?.content?.[0]?.text,
  dimensions: vectors.data.map((one) => one.embedding.length),
  bought: before,
  refused,
  stranger,
  refusals: attempts.length - before,
}));
