// A button that opens, or folds, all code of a page. Without this script each piece opens by itself.
document.addEventListener("DOMContentLoaded", () => {
  const boxes = [...document.querySelectorAll(".bd-article details.above-input")];
  const title = document.querySelector(".bd-article h1");
  if (boxes.length === 0 || !title) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "show-code btn btn-sm btn-outline-secondary";
  const open = () => boxes.every((box) => box.open);
  const label = () => {
    button.textContent = open() ? "Hide all code" : "Show all code";
  };
  button.addEventListener("click", () => {
    const wish = !open();
    boxes.forEach((box) => (box.open = wish));
    label();
  });
  boxes.forEach((box) => box.addEventListener("toggle", label));
  label();
  title.after(button);
});
