/* Light or dark, before anything is painted: what was chosen here, else what the system says. */
{
  const kept = localStorage.getItem("enginehouse.theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
}
