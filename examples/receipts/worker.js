// The worker of the receipts example. It stays: each line of standard input is a job, each line of standard output an outcome.
"use strict";

const { rename, writeFile } = require("node:fs/promises");
const { createInterface } = require("node:readline");

const FOLDER = "receipts";

class WrongPayload extends Error {
  name = "WrongPayload";
}

/** Returns the text of a receipt. */
function render({ number, amount, currency, locale }) {
  if (!Number.isSafeInteger(number) || number < 0) {
    throw new WrongPayload(`number: ${JSON.stringify(number)}, must be a whole number`);
  }
  if (!Number.isFinite(Number(amount))) {
    throw new WrongPayload(`amount: ${JSON.stringify(amount)}, must be a number`);
  }
  try {
    const price = new Intl.NumberFormat(locale, { style: "currency", currency }).format(amount);
    return `Receipt ${number}: ${price}\n`;
  } catch (error) {
    throw new WrongPayload(error.message); // no such currency or locale
  }
}

/** Writes a file whole or not at all, so that a job that runs twice does no harm. */
async function store(file, text) {
  const unfinished = `${FOLDER}/.${file}.${process.pid}`;
  await writeFile(unfinished, text);
  await rename(unfinished, `${FOLDER}/${file}`);
}

/** Runs a job; many of them are under way at a time. */
async function run({ id, payload }) {
  try {
    const file = `${payload.number}.txt`;
    const text = render(payload);
    await store(file, text);
    tell({ id, result: file });
  } catch (error) {
    tell({ id, error: { message: error.message, type: error.name, retry: !(error instanceof WrongPayload) } });
  }
}

function tell(outcome) {
  process.stdout.write(JSON.stringify(outcome) + "\n");
}

createInterface({ input: process.stdin }).on("line", (line) => run(JSON.parse(line)));
