// A share as whole per cent, as analysis/controls.py writes it: what is not all or nothing is never
// shown so; a half goes to the even number.

export function percent(share) {
  const exact = 100 * share;
  const near = Math.round(exact);
  const shown = near - exact === 0.5 && near % 2 ? near - 1 : near;
  if (shown === 0 && share !== 0) return "under 1 %";
  if (shown === 100 && share !== 1) return "over 99 %";
  return `${shown} %`;
}
