// <star-rating>: a slider that looks like stars, or like a slider where the scale has none.

import { h } from "./dom.js";
import { number, rated, t } from "./words.js";

const IDLE = 900; // milliseconds after the last arrow key until what it says counts

class StarRating extends HTMLElement {
  // scale: {low, high, step, stars}; value: a rating or null; named: of what; chosen: called with a rating, or null.
  static of(scale, value, named, chosen) {
    const made = document.createElement("star-rating");
    Object.assign(made, { scale, named, chosen, waiting: null });
    made.build();
    made.value = value;
    return made;
  }

  build() {
    this.setAttribute("role", "slider");
    this.tabIndex = 0;
    this.setAttribute("aria-valuemin", this.scale.low);
    this.setAttribute("aria-valuemax", this.scale.high);
    this.setAttribute("aria-label", t("rate", { title: this.named }));
    this.classList.toggle("bar", !this.scale.stars);
    this.track = h("span.track");
    this.track.style.setProperty("--n", this.scale.stars ? this.scale.high : 5);
    this.said = h("span.said");
    this.append(this.track, this.said);
    this.track.addEventListener("pointermove", (event) => event.pointerType === "mouse" && this.show(this.at(event)));
    this.track.addEventListener("pointerleave", () => this.show(this.current));
    // A click and no pointerdown: a finger that scrolls the page rates nothing.
    this.track.addEventListener("click", (event) => {
      const value = this.at(event);
      this.choose(value === this.value ? null : value);
    });
    this.addEventListener("keydown", this.typed);
    this.addEventListener("blur", () => this.settle());
  }

  get value() {
    return this.kept;
  }
  set value(value) {
    this.kept = value;
    if (this.waiting === null) this.show(value);
  }
  get current() {
    return this.waiting ?? this.kept;
  }

  rounded(value) {
    const { low, high, step } = this.scale;
    const stepped = low + Math.round((value - low) / step) * step;
    return Math.min(high, Math.max(low, Number(stepped.toFixed(4))));
  }
  at(event) {
    const { left, width } = this.track.getBoundingClientRect();
    const { low, high, step, stars } = this.scale;
    const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
    // The half of a star that is pointed at counts whole.
    return stars ? this.rounded(Math.ceil((share * high) / step) * step) : this.rounded(low + share * (high - low));
  }
  show(value) {
    const { low, high, stars } = this.scale;
    const share = value === null ? 0 : stars ? value / high : (value - low) / (high - low);
    this.track.style.setProperty("--share", `${100 * share}%`);
    this.said.textContent = value === null ? "" : number(value);
    if (value === null) this.removeAttribute("aria-valuenow");
    else this.setAttribute("aria-valuenow", value);
    this.setAttribute("aria-valuetext", value === null ? t("not_rated") : rated(value, this.scale));
  }
  choose(value) {
    clearTimeout(this.timer);
    this.waiting = null;
    this.value = value;
    this.chosen(value);
  }
  // Arrow keys pass many values on their way to the one that is meant.
  wait(value) {
    this.waiting = value;
    this.show(value);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), IDLE);
  }
  settle() {
    clearTimeout(this.timer);
    const value = this.waiting;
    if (value === null) return;
    if (value === this.kept) this.waiting = null;
    else this.choose(value);
  }
  typed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { low, high, step, stars } = this.scale;
    const now = this.current;
    const by = (change) => this.wait(now === null ? (change > 0 ? low : high) : this.rounded(now + change));
    const keys = {
      ArrowRight: () => by(step),
      ArrowUp: () => by(step),
      ArrowLeft: () => by(-step),
      ArrowDown: () => by(-step),
      PageUp: () => by(Math.max(step, (high - low) / 5)),
      PageDown: () => by(-Math.max(step, (high - low) / 5)),
      Home: () => this.wait(low),
      End: () => this.wait(high),
      Enter: () => this.settle(),
      " ": () => this.settle(),
      Escape: () => {
        clearTimeout(this.timer);
        this.waiting = null;
        this.show(this.kept);
      },
      Delete: () => this.kept !== null && this.choose(null),
      Backspace: () => this.kept !== null && this.choose(null),
    };
    const digit = Number.parseInt(event.key, 10);
    if (keys[event.key]) keys[event.key]();
    else if (stars && digit >= Math.max(low, 1) && digit <= high) this.wait(digit);
    else return;
    event.preventDefault();
  }
}
customElements.define("star-rating", StarRating);
export const stars = StarRating.of;
