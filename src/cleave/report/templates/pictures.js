const box = document.querySelector("dialog"), large = box.querySelector("img"), text = box.querySelector("p");
let shown = [], at = 0;
function show(step) {
  at = (at + step + shown.length) % shown.length;
  large.src = shown[at].href;
  text.textContent = shown[at].dataset.title + "  (" + (at + 1) + " of " + shown.length + ", ← →)";
}
document.addEventListener("click", event => {
  const picture = event.target.closest("a.picture");
  if (box.open) { box.close(); }
  else if (picture) {
    event.preventDefault();
    shown = [...picture.closest(".panel").querySelectorAll("a.picture")];
    at = shown.indexOf(picture);
    show(0);
    box.showModal();
  }
});
document.addEventListener("keydown", event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (box.open && step) { event.preventDefault(); show(step); }
});
