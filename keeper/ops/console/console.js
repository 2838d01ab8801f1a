// The console: one stream of snapshots and events in, a page out. No library, no build.

const $ = (id) => document.getElementById(id);
const BINS = 30;
const EDGE_PERCENT = 2, NEAR_PERCENT = 5;
const MOST_EVENTS = 60;
const SILENT_MS = 4000;
const SPARK_POINTS = 240;

const state = {
  snapshot: null,
  market: "",
  seenAt: 0,
  hours: 24,
  history: {},
  traces: new Map(),
  cursor: null,
  lastEvent: 0,
  token: sessionStorage.getItem("token") ?? "",
};

// Numbers and words

const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const amount = (value) => number(value, Math.abs(value) >= 10000 ? 0 : 2);
const price = (value) => number(value, value >= 1000 ? 1 : value >= 10 ? 2 : value >= 0.1 ? 4 : 6);
const percent = (value) => `${number(value, value < 10 ? 2 : 1)} %`;
const native = (wei) => number(Number(wei) / 1e18, 4);
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const short = (text) => (text.length > 14 ? `${text.slice(0, 6)}…${text.slice(-4)}` : text);

function duration(seconds) {
  if (seconds < 0) return "over";
  if (seconds < 60) return `${number(seconds)} s`;
  if (seconds < 5400) return `${number(seconds / 60)} min`;
  if (seconds < 129600) return `${number(seconds / 3600, 1)} h`;
  if (seconds < 400 * 86400) return `${number(seconds / 86400)} d`;
  return `${number(seconds / 31536000, 1)} years`;
}

// Building the page

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== "") made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function shape(tag, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(id, text) {
  const target = $(id);
  if (target.textContent !== text) target.textContent = text;
}

function pairs(rows) {
  const list = element("dl", { class: "pairs" });
  for (const [name, value, mood] of rows) {
    list.append(element("dt", {}, name), element("dd", { class: mood }, value));
  }
  return list;
}

// What is shown

function market() {
  const markets = state.snapshot?.markets ?? [];
  return markets.find((one) => one.name === state.market) ?? markets[0];
}

function show() {
  const snapshot = state.snapshot;
  if (!snapshot) return showStatus();
  const shown = market();
  showStatus();
  showCauses(snapshot);
  showTabs(snapshot);
  showFacts(snapshot);
  if (shown) {
    showTiles(snapshot, shown);
    showDistance(shown);
    showNearest(shown);
    showPrices(shown);
    showStake(shown);
  }
  showSigners(snapshot);
  showEndpoints(snapshot);
}

function verdict() {
  const snapshot = state.snapshot;
  if (!snapshot) return ["unknown", "Connecting", "Waiting for the keeper's first word."];
  const silent = Date.now() - state.seenAt;
  if (silent > SILENT_MS) {
    return ["bad", "No word from the keeper", `The last figures are ${duration(silent / 1000)} old. Is it running?`];
  }
  const critical = snapshot.causes.filter((cause) => cause.level === "critical");
  const named = (name) => critical.find((cause) => cause.name.startsWith(name));
  if (named("starting")) return ["warn", "Starting", named("starting").text];
  if (named("not-eligible")) return ["bad", "Alive, but not eligible to liquidate", named("not-eligible").text];
  if (named("head-stalled")) return ["bad", "The chain's head is stale", named("head-stalled").text];
  if (critical.length) return ["bad", "Alive, but not able to liquidate", critical[0].text];
  if (snapshot.paused) return ["warn", "Paused by the operator", "Everything is watched, nothing is sent. Resume when you are done."];
  if (snapshot.mode !== "live") {
    return ["good", "Alive, observing only", `Mode ${snapshot.mode}: everything is decided, nothing is sent.`];
  }
  const watched = snapshot.markets.reduce((sum, one) => sum + one.accounts, 0);
  const where = snapshot.markets.length === 1 ? snapshot.markets[0].name : plural(snapshot.markets.length, "market");
  return ["good", "Alive and allowed to liquidate", `Watching ${plural(watched, "account")} in ${where}.`];
}

function showStatus() {
  const [mood, title, text] = verdict();
  $("status").dataset.state = mood;
  say("status-title", title);
  say("status-text", text);
  document.title = { good: "keeper", warn: "◐ keeper", bad: "● keeper" }[mood] ?? "keeper";
}

function showCauses(snapshot) {
  const leading = verdict()[2];
  $("causes").replaceChildren(
    ...snapshot.causes
      .filter((cause) => cause.text !== leading && cause.name !== "paused")
      .map((cause) =>
        element("li", { class: cause.level }, element("b", {}, cause.name.split(":")[0]), element("span", {}, cause.text)),
      ),
  );
}

function showTabs(snapshot) {
  const tabs = $("tabs");
  tabs.hidden = snapshot.markets.length < 2;
  const names = snapshot.markets.map((one) => one.name).join("\n");
  if (tabs.dataset.names !== names) {
    tabs.dataset.names = names;
    tabs.replaceChildren(
      ...snapshot.markets.map((one) => {
        const tab = element("button", { type: "button", role: "tab", "data-market": one.name }, one.name);
        tab.addEventListener("click", () => {
          state.market = one.name;
          state.cursor = null;
          show();
          showEarned();
        });
        return tab;
      }),
    );
  }
  for (const tab of tabs.children) tab.setAttribute("aria-selected", String(tab.dataset.market === market().name));
}

function showFacts(snapshot) {
  const chains = snapshot.chains.map((chain) => `${chain.name} at block ${number(chain.head)}`).join(", ");
  say("facts", `${snapshot.mode} · ${chains} · up ${duration(snapshot.at - snapshot.started_at)}`);
  const toggle = $("switch");
  toggle.hidden = false;
  say("switch", snapshot.paused ? "Resume sending" : "Pause sending");
  toggle.setAttribute("aria-pressed", String(snapshot.paused));
  const stopped = stoppedMarket(snapshot);
  $("anew").hidden = !stopped;
  if (stopped) say("anew", `Read ${stopped} anew`);
}

// A market in which the chain's disagreement has stopped the sending; the one that is shown first of all.
function stoppedMarket(snapshot) {
  const stopped = snapshot.markets.filter((one) => one.figures?.mismatch).map((one) => one.name);
  return stopped.includes(state.market) ? state.market : stopped[0];
}

function showTiles(snapshot, shown) {
  const figures = shown.figures;
  const nearest = figures?.nearest[0];
  const balance = balances(shown);
  const rows = [
    ["Accounts watched", number(shown.accounts), ""],
    ["Nearest", nearest ? (nearest.percent === null ? "none" : percent(nearest.percent)) : "–", "from liquidation"],
    ["Liquidated", number(shown.mined), "since the start"],
    ["Earned", amount(balance.earned), `${figures?.unit ?? ""} in ${hoursText()}`],
    ["Gas", amount(balance.spent), `${figures?.unit ?? ""} in ${hoursText()}`],
    ["Reverted, lost", `${number(total(shown.reverted))}, ${number(shown.lost)}`, ""],
  ];
  const tiles = $("tiles");
  rows.forEach(([name, value, unit], index) => {
    let tile = tiles.children[index];
    if (!tile) {
      tile = element("div", {}, element("dt"), element("dd"));
      tiles.append(tile);
    }
    tile.firstChild.textContent = name;
    tile.lastChild.replaceChildren(value, " ", element("small", {}, unit));
  });
}

const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

// The distance chart: a fall of prices to the left, a rise to the right, now in the middle

function showDistance(shown) {
  const distances = shown.figures?.distances;
  const box = $("distance");
  if (!distances || !distances.down.length) {
    box.replaceChildren();
    say("distance-text", "Not known yet.");
    return;
  }
  const bins = [
    ...distances.down.map((count, index) => ({ count, from: index, fall: true })).reverse(),
    ...distances.up.map((count, index) => ({ count, from: index, fall: false })),
  ];
  const width = Math.max(box.clientWidth, 280), height = box.clientHeight || 300;
  const bottom = height - 26, top = 42;
  const step = width / (2 * BINS), most = Math.max(4, ...bins.map((bin) => bin.count));
  let svg = box.querySelector("svg");
  if (!svg || svg.dataset.size !== `${width}x${height}`) {
    svg = axes(width, height, bottom, step);
    box.replaceChildren(svg);
  }
  const bars = svg.querySelectorAll(".bar"), counts = svg.querySelectorAll(".count");
  bins.forEach((bin, index) => {
    const tall = bin.count ? Math.max(3, (bin.count / most) * (bottom - top)) : 0;
    const bar = bars[index];
    bar.setAttribute("y", bottom - tall);
    bar.setAttribute("height", tall);
    bar.style.y = `${bottom - tall}px`;
    bar.style.height = `${tall}px`;
    counts[index].textContent = bin.count && step >= 10 ? number(bin.count) : "";
    counts[index].setAttribute("y", bottom - tall - 4);
    const kind = bin.from < EDGE_PERCENT ? " edge" : bin.from < NEAR_PERCENT ? " near" : "";
    bar.setAttribute("class", `bar${kind}${state.cursor === index ? " chosen" : ""}`);
  });
  state.bins = bins;
  say("distance-text", summaryOf(distances));
  box.setAttribute("aria-label", `Accounts by distance to liquidation. ${summaryOf(distances)} Arrow keys read the bars.`);
  showReading();
}

function axes(width, height, bottom, step) {
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  svg.dataset.size = `${width}x${height}`;
  for (let mark = -BINS; mark <= BINS; mark += 5) {
    const x = (mark + BINS) * step;
    svg.append(shape("line", { class: "axis", x1: x, x2: x, y1: 26, y2: bottom }));
    if (width < 700 && (mark % 10 || Math.abs(mark) === BINS)) continue;
    if (Math.abs(mark) === 25) continue; // It would touch its neighbour at the edge.
    const anchor = mark === -BINS ? "start" : mark === BINS ? "end" : "middle";
    const text = mark ? `${mark > 0 ? "+" : "−"}${Math.abs(mark)} %` : "now";
    svg.append(shape("text", { x, y: height - 6, "text-anchor": anchor, class: mark ? "" : "now-label" }, text));
  }
  svg.append(shape("text", { x: 0, y: 13 }, "← if a price falls"));
  svg.append(shape("text", { x: width, y: 13, "text-anchor": "end" }, "if a price rises →"));
  for (let index = 0; index < 2 * BINS; index++) {
    const gap = Math.min(3, step * 0.16);
    svg.append(shape("text", { class: "count", x: (index + 0.5) * step, y: bottom }));
    svg.append(shape("rect", { class: "bar", x: index * step + gap / 2, width: Math.max(1, step - gap), y: bottom, height: 0, rx: Math.min(3, step / 4) }));
  }
  svg.append(shape("line", { class: "axis", x1: 0, x2: width, y1: bottom, y2: bottom }));
  svg.append(shape("line", { class: "now", x1: width / 2, x2: width / 2, y1: 18, y2: bottom }));
  return svg;
}

const within = (distances, percents) =>
  [...distances.down.slice(0, percents), ...distances.up.slice(0, percents)].reduce((sum, count) => sum + count, 0);

function summaryOf(distances) {
  const edge = within(distances, EDGE_PERCENT), near = within(distances, NEAR_PERCENT);
  const parts = [
    `${plural(edge, "account")} within ${EDGE_PERCENT} %`,
    `${number(near)} within ${NEAR_PERCENT} %`,
    `${number(distances.beyond)} beyond ${BINS} %`,
  ];
  if (distances.unassessable) parts.push(`${number(distances.unassessable)} not assessable`);
  return `${parts.join(", ")}.`;
}

function showReading() {
  const bin = state.cursor === null ? null : state.bins?.[state.cursor];
  if (!bin) return say("distance-reading", "");
  const side = state.bins.filter((other) => other.fall === bin.fall && other.from <= bin.from);
  const sum = side.reduce((all, other) => all + other.count, 0);
  const move = bin.fall ? "fall" : "rise";
  say(
    "distance-reading",
    `A ${move} of ${bin.from} to ${bin.from + 1} % reaches ${plural(bin.count, "account")}; ${number(sum)} in all by then.`,
  );
}

function choose(index) {
  state.cursor = index === null ? null : Math.min(Math.max(index, 0), 2 * BINS - 1);
  const shown = market();
  if (shown) showDistance(shown);
}

// Tables and lists

const closeness = (value) => (value < EDGE_PERCENT ? "edge" : value < NEAR_PERCENT ? "near" : "");

function showNearest(shown) {
  const rows = (shown.figures?.nearest ?? []).map((one) => {
    const fill = element("span", { class: one.percent === null ? "" : closeness(one.percent) });
    fill.style.width = `${one.percent === null ? 0 : Math.max(3, Math.min(100, 100 - (one.percent / 15) * 100))}%`;
    return element(
      "tr",
      {},
      element("td", { title: one.account }, short(one.account)),
      element("td", {}, one.price ? `${one.price} ${one.upward ? "rises" : "falls"}` : "–"),
      element("td", { class: "number" }, element("span", { class: "meter", "aria-hidden": "true" }, fill), one.percent === null ? "–" : percent(one.percent)),
      element("td", { class: "number" }, amount(one.margin)),
      element("td", { class: "number" }, one.funding_s === null ? "never" : duration(one.funding_s)),
    );
  });
  $("nearest").replaceChildren(...(rows.length ? rows : [element("tr", {}, element("td", { colspan: "5" }, "Nobody holds a position."))]));
}

function remember(snapshot) {
  for (const one of snapshot.markets) {
    for (const each of one.figures?.prices ?? []) {
      const key = `${one.name}/${each.name}`;
      const trace = state.traces.get(key) ?? [];
      trace.push(each.value);
      if (trace.length > SPARK_POINTS) trace.shift();
      state.traces.set(key, trace);
    }
  }
}

function showPrices(shown) {
  const rows = (shown.figures?.prices ?? []).map((one) => {
    const late = one.expires_in_s !== null && one.expires_in_s <= 0;
    const age = one.age_s === null ? "" : late ? "expired" : one.age_s < 2 ? "just now" : `${duration(one.age_s)} old`;
    const old = late || (one.expires_in_s !== null && one.age_s > one.expires_in_s);
    return element(
      "li",
      {},
      element("span", {}, one.name),
      spark(state.traces.get(`${shown.name}/${one.name}`) ?? []),
      element("span", { class: "value" }, price(one.value)),
      element("span", { class: old ? "age old" : "age" }, age || one.source),
    );
  });
  $("prices").replaceChildren(...(rows.length ? rows : [element("li", { class: "empty" }, "None known yet.")]));
}

function spark(trace) {
  const svg = shape("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (trace.length > 1) {
    const low = Math.min(...trace), span = Math.max(...trace) - low || 1;
    const points = trace.map((value, index) => `${(index / (trace.length - 1)) * 100},${27 - ((value - low) / span) * 24}`);
    svg.append(shape("path", { d: `M${points.join("L")}` }));
  }
  return svg;
}

function showStake(shown) {
  const stakes = shown.figures?.stakes ?? [];
  if (!stakes.length) {
    const first = shown.signers[0];
    $("stake").replaceChildren(element("p", { class: "empty" }, first ? `No stake is asked for: ${first.detail}.` : "No stake is asked for."));
    return;
  }
  $("stake").replaceChildren(...stakes.flatMap((stake) => stakeOf(shown, stake)));
}

function stakeOf(shown, stake) {
  const signer = shown.signers.find((one) => one.address === stake.address);
  const scale = Math.max(stake.staked, stake.average) * 1.15 || 1;
  const line = element("div", { class: "bar-line", role: "img", "aria-label": `${number(stake.staked)} DERI staked, the average is ${number(stake.average)}` });
  const fill = element("span"), mark = element("i");
  fill.style.width = `${(stake.staked / scale) * 100}%`;
  mark.style.left = `${(stake.average / scale) * 100}%`;
  line.append(fill, mark);
  const room = stake.headroom === null ? "alone" : `${number(stake.headroom)} DERI${stake.headroom_percent === null ? "" : ` (${number(stake.headroom_percent, 1)} %)`}`;
  const rows = [
    ["Signer", short(stake.address)],
    ["Staked", `${number(stake.staked)} DERI`],
    ["The average", `${number(stake.average)} DERI`],
    ["Others may add", room, stake.headroom !== null && stake.headroom < 0 ? "bad" : ""],
    ["Eligible", signer ? `${signer.allowed ? "yes" : "no"}: ${signer.reason}` : "–", signer ? (signer.allowed ? "good" : "bad") : ""],
  ];
  if (stake.lock_until) rows.push(["Locked until", new Date(stake.lock_until * 1000).toLocaleString("en-GB")]);
  return [line, pairs(rows)];
}

function showSigners(snapshot) {
  const lanes = snapshot.chains.flatMap((chain) => chain.lanes.map((lane) => [chain, lane]));
  if (!lanes.length) {
    $("signers").replaceChildren(element("p", { class: "empty" }, `None: mode ${snapshot.mode} sends nothing.`));
    return;
  }
  $("signers").replaceChildren(
    ...lanes.map(([chain, lane]) =>
      pairs([
        [chain.name, short(lane.address)],
        ["Balance", `${native(lane.balance_wei)} native`],
        ["Gas budget left", `${native(lane.budget_left_wei)} native`, Number(lane.budget_left_wei) <= 0 ? "bad" : ""],
        ["In flight", number(lane.in_flight)],
      ]),
    ),
  );
}

function showEndpoints(snapshot) {
  const rows = snapshot.chains.flatMap((chain) =>
    chain.endpoints.map((one) => {
      const odd = one.lagging ? "lags" : one.forked ? "on a fork" : "";
      const mood = !one.healthy ? "down" : odd ? "odd" : "";
      const words = !one.healthy ? "does not answer" : `${odd ? `${odd}, ` : ""}${number(one.latency_ms, 1)} ms`;
      return element(
        "li",
        { class: mood },
        element("span", { class: "dot", "aria-hidden": "true" }),
        element("span", { class: "name" }, one.name),
        element("span", { class: "state" }, `${words}${one.failures ? `, ${plural(one.failures, "failure")}` : ""}`),
      );
    }),
  );
  $("endpoints").replaceChildren(...rows);
}

// What happens

const WORDS = {
  sent: "Sent", replaced: "Offered dearer", mined: "Liquidated", reverted: "Reverted", cancelled: "Cancelled",
  abandoned: "Given up", skipped: "Left alone", raised: "Amiss", cleared: "Right again", operator: "Operator",
};

function happened(event) {
  state.lastEvent = Math.max(state.lastEvent, event.id);
  const at = new Date(event.at * 1000);
  const one = state.snapshot?.markets.find((other) => other.name === event.market);
  const unit = one?.figures?.unit ?? "", decimals = one?.figures?.decimals ?? 18;
  const earned = event.kind === "mined" ? `+${amount(Number(event.reward_b0) / 10 ** decimals)} ${unit}` : "";
  const what = event.market ? `${WORDS[event.kind]} ${short(event.account)}` : WORDS[event.kind];
  const details = [
    event.market ? "" : event.account.split(":")[0],
    event.text,
    event.block_number ? `block ${number(event.block_number)}` : "",
    event.transaction_hash ? short(event.transaction_hash) : "",
    event.fee_wei && event.fee_wei !== "0" ? `gas ${number(Number(event.fee_wei) / 1e18, 6)}` : "",
  ].filter(Boolean);
  const row = element(
    "li",
    { class: event.kind, title: event.transaction_hash ?? "" },
    element("time", { datetime: at.toISOString() }, at.toLocaleTimeString("en-GB")),
    element("b", {}, what),
    element("span", { class: "sum" }, earned),
    details.length ? element("span", { class: "sub" }, details.join(" · ")) : null,
  );
  if (Date.now() - at.getTime() < 5000) row.classList.add("fresh");
  const list = $("events");
  if (event.market) {
    // What is known of an account on its way is told by the newest line.
    const key = `${event.market}/${event.account}`;
    row.dataset.key = key;
    for (const older of list.children) {
      if (older.dataset.key === key && ["sent", "replaced"].includes(older.dataset.kind)) older.remove();
    }
  }
  row.dataset.kind = event.kind;
  list.prepend(row);
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
  if (event.kind === "mined" || event.kind === "reverted") askHistorySoon();
}

// Earned and spent

const hoursText = () => ({ 1: "1 h", 24: "24 h", 168: "7 d" })[state.hours] ?? `${state.hours} h`;

function balances(shown) {
  const decimals = shown.figures?.decimals ?? 18, coin = Number(shown.native_price_e18) / 1e18;
  let earned = 0, spent = 0;
  const points = (state.history[shown.name] ?? []).map((step) => {
    earned += Number(step.earned_b0) / 10 ** decimals;
    spent += (Number(step.spent_wei) / 1e18) * coin;
    return { at: step.at, earned, spent };
  });
  return { points, earned, spent };
}

function showEarned() {
  const shown = market();
  if (!shown) return;
  const box = $("earned");
  const { points, earned, spent } = balances(shown);
  const unit = shown.figures?.unit ?? "";
  if (!points.length) {
    box.replaceChildren(element("p", { class: "empty" }, `Nothing in the last ${hoursText()}.`));
    $("earned-legend").replaceChildren();
    return;
  }
  const width = Math.max(box.clientWidth, 240), height = box.clientHeight || 190;
  const bottom = height - 22, top = 12, most = Math.max(earned, spent, 1e-9);
  const x = (index) => (index / (points.length - 1)) * width;
  const y = (value) => bottom - (value / most) * (bottom - top);
  const line = (name) => points.map((point, index) => `${index ? "L" : "M"}${x(index).toFixed(1)},${y(point[name]).toFixed(1)}`).join("");
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  svg.append(
    shape("line", { class: "axis", x1: 0, x2: width, y1: bottom, y2: bottom }),
    shape("line", { class: "axis", x1: 0, x2: width, y1: top, y2: top }),
    shape("text", { x: 0, y: top - 2 }, `${amount(most)} ${unit}`),
    shape("path", { class: "gain-area", d: `${line("earned")}L${width},${bottom}L0,${bottom}Z` }),
    shape("path", { class: "gain", d: line("earned") }),
    shape("path", { class: "cost", d: line("spent") }),
    shape("text", { x: 0, y: height - 5 }, `${hoursText()} ago`),
    shape("text", { x: width, y: height - 5, "text-anchor": "end" }, "now"),
  );
  box.replaceChildren(svg);
  box.setAttribute("aria-label", `Earned ${amount(earned)} ${unit} and paid ${amount(spent)} ${unit} for gas in the last ${hoursText()}.`);
  $("earned-legend").replaceChildren(
    element("i", { "aria-hidden": "true" }), `earned ${amount(earned)} ${unit}`,
    element("i", { class: "cost", "aria-hidden": "true" }), `gas ${amount(spent)} ${unit}`,
  );
}

let historyDue = 0;
function askHistorySoon() {
  clearTimeout(historyDue);
  historyDue = setTimeout(askHistory, 700);
}

async function askHistory() {
  try {
    const response = await ask(`api/history?hours=${state.hours}`);
    if (response.ok) {
      state.history = await response.json();
      showEarned();
      show();
    }
  } catch {
    // The stream tells that the keeper is gone; the next one that comes asks again.
  }
}

// Talking to the keeper

function ask(path, options = {}) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  return fetch(path, { ...options, headers, cache: "no-store" });
}

function askForToken(why) {
  const dialog = $("ask");
  say("ask-error", why);
  $("token").value = "";
  if (dialog.open) return Promise.resolve(false);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = dialog.returnValue === "ok" ? $("token").value.trim() : "";
        if (given) {
          state.token = given;
          sessionStorage.setItem("token", given);
        }
        resolve(Boolean(given));
      },
      { once: true },
    );
  });
}

const flip = () => order(state.snapshot?.paused ? "api/resume" : "api/pause");

function readAnew() {
  const stopped = state.snapshot && stoppedMarket(state.snapshot);
  if (stopped) return order(`api/markets/${encodeURIComponent(stopped)}/bootstrap`);
}

// Ask the keeper to do something, with the token that it takes.
async function order(path) {
  for (let why = ""; ; ) {
    if (!state.token && !(await askForToken(why))) return;
    const response = await ask(path, { method: "POST" });
    if (response.ok || response.status === 409) return; // 409: it is done already.
    const said = (await response.json()).error ?? response.statusText;
    state.token = "";
    sessionStorage.removeItem("token");
    if (response.status === 403) {
      say("status-text", said);
      return;
    }
    why = response.status === 401 ? "That was not the token." : said;
  }
}

function take(name, data) {
  if (name === "snapshot") {
    state.snapshot = data;
    state.seenAt = Date.now();
    remember(data);
    show();
  } else if (name === "happened") {
    happened(data);
  }
}

async function listen() {
  const response = await ask(`api/events?after=${state.lastEvent}`);
  if (response.status === 401 || response.status === 429) {
    const why = state.token ? "That was not the token." : "Reading asks for the token here.";
    state.token = "";
    await askForToken(why);
    return;
  }
  if (!response.ok) throw new Error(response.statusText);
  askHistory();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const fields = Object.fromEntries(message.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
      if (fields.event) take(fields.event, JSON.parse(fields.data));
    }
  }
}

async function follow() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
    const began = Date.now();
    try {
      await listen();
    } catch {
      // The status says that there is no word; it is tried again.
    }
    if (Date.now() - began > 5000) wait = 500;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

// Light and dark

const darkSystem = matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  const wanted = localStorage.getItem("theme") ?? "auto";
  document.documentElement.dataset.theme = wanted === "auto" ? (darkSystem.matches ? "dark" : "light") : wanted;
  say("theme", `Theme: ${wanted}`);
}

applyTheme();
darkSystem.addEventListener("change", applyTheme);
$("theme").addEventListener("click", () => {
  const order = ["auto", "light", "dark"];
  localStorage.setItem("theme", order[(order.indexOf(localStorage.getItem("theme") ?? "auto") + 1) % 3]);
  applyTheme();
});
$("switch").addEventListener("click", flip);
$("anew").addEventListener("click", readAnew);
for (const button of document.querySelectorAll("[data-hours]")) {
  button.addEventListener("click", () => {
    state.hours = Number(button.dataset.hours);
    for (const other of document.querySelectorAll("[data-hours]")) other.setAttribute("aria-pressed", String(other === button));
    askHistory();
  });
}
$("distance").addEventListener("pointermove", (event) => {
  const box = $("distance").getBoundingClientRect();
  choose(Math.floor(((event.clientX - box.left) / box.width) * 2 * BINS));
});
$("distance").addEventListener("pointerleave", () => choose(null));
$("distance").addEventListener("blur", () => choose(null));
$("distance").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  choose(state.cursor === null ? BINS + (step < 0 ? -1 : 0) : state.cursor + step);
});
new ResizeObserver(() => {
  show();
  showEarned();
}).observe($("main"));
setInterval(showStatus, 1000);
setInterval(askHistory, 30000);
follow();
