/** An attachment for what should have the focus when its screen opens. */
export const focused = (element: HTMLElement): void => element.focus();
