// Prints every named event as a line of JSON; the package alone decides when and with what it connects again.

import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
for (const name of ["snapshot", "reset", "progress", "bye"]) {
  source.addEventListener(name, ({ data, lastEventId }) => console.log(JSON.stringify({ name, lastEventId, data })));
}
