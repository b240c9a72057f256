// SPDX-License-Identifier: Apache-2.0
// Building the page out of nodes. Data becomes text nodes and attribute values and nothing else: there is no
// innerHTML in the console, and the Content-Security-Policy (trusted types) would refuse one.

export function h(tag, props = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
        if (value === null || value === undefined || value === false)
            continue;
        if (typeof value === 'function')
            node.addEventListener(name.slice(2), value);       // onclick
        else
            node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
}

// Strokes on a 20 × 20 grid, drawn for this page.
const ICONS = {
    key: 'M12.500 11.500a4 4 0 1 0-3.400-1.900L3 15.700V17h2.500v-1.700h1.700v-1.700h1.700l1.700-1.900M13.700 6.400h.01',
    copy: 'M7.500 7.500V4.200c0-.7.500-1.200 1.200-1.200h7.100c.7 0 1.200.5 1.200 1.200v7.100c0 .7-.5 1.200-1.200 1.200h-3.300M4.200 7.500h7.100c.7 0 1.200.5 1.200 1.200v7.100c0 .7-.5 1.200-1.200 1.200H4.200c-.7 0-1.200-.5-1.200-1.200V8.700c0-.7.5-1.200 1.200-1.200z',
    check: 'M4 10.500l4 4 8-9',
    plus: 'M10 4v12M4 10h12',
    edit: 'M12.500 4.500l3 3M4 16l.8-3.500 8.500-8.500c.6-.6 1.500-.6 2.100 0l.6.6c.6.6.6 1.500 0 2.100l-8.500 8.500z',
    rotate: 'M16.200 8.500A6.500 6.500 0 0 0 4.500 6.800L3.500 8.200M3.500 4.500v3.800h3.800M3.800 11.500a6.500 6.500 0 0 0 11.700 1.700l1-1.400M16.500 15.500v-3.800h-3.800',
    close: 'M5 5l10 10M15 5L5 15',
    search: 'M13.500 13.500L17 17M9 15A6 6 0 1 0 9 3a6 6 0 0 0 0 12z',
    warning: 'M10 7.500v3.500M10 13.800h.01M8.800 3.700L2.600 14.500c-.5.9.1 2 1.200 2h12.400c1.100 0 1.700-1.100 1.200-2L11.200 3.700c-.5-.9-1.900-.9-2.400 0z',
    info: 'M10 9.500v4M10 6.500h.01M10 17.500a7.500 7.500 0 1 0 0-15 7.500 7.500 0 0 0 0 15z',
    clock: 'M10 5.500V10l3 2M10 17.500a7.500 7.500 0 1 0 0-15 7.500 7.500 0 0 0 0 15z',
    down: 'M5.500 8l4.500 4.500L14.500 8',
    left: 'M12 5.500L7.500 10l4.500 4.500',
    right: 'M8 5.500l4.500 4.500L8 14.500',
    menu: 'M3.500 6h13M3.500 10h13M3.500 14h13',
    tenant: 'M4 17V4.200C4 3.500 4.500 3 5.200 3h6.100c.7 0 1.200.5 1.200 1.200V17M12.500 8.500h2.300c.7 0 1.200.5 1.200 1.200V17M2.500 17h15M7 6.500h2.500M7 9.500h2.500M7 12.500h2.500',
    scope: 'M4 4.200C4 3.500 4.500 3 5.200 3h9.600c.7 0 1.200.5 1.200 1.200v11.600c0 .7-.5 1.200-1.200 1.200H5.200c-.7 0-1.200-.5-1.200-1.200zM7 7.500l1 1 2-2M12 7.500h1.500M7 12.500l1 1 2-2M12 12.500h1.500',
    seal: 'M10 12.500a4.700 4.700 0 1 0 0-9.500 4.700 4.700 0 0 0 0 9.500zM7 11.500L6 17l4-2 4 2-1-5.500',
    audit: 'M6.500 3h7c.9 0 1.500.6 1.500 1.500v11c0 .9-.6 1.500-1.500 1.500h-7c-.9 0-1.500-.6-1.500-1.500v-11C5 3.600 5.600 3 6.500 3zM8 7h4M8 10h4M8 13h2',
    leave: 'M8 3.500H5.200c-.7 0-1.200.5-1.200 1.200v10.600c0 .7.5 1.200 1.200 1.200H8M8.500 10H17M13.500 6.500L17 10l-3.500 3.500',
    eye: 'M2 10s3-5.500 8-5.500 8 5.500 8 5.500-3 5.500-8 5.500S2 10 2 10zM10 12.300a2.300 2.300 0 1 0 0-4.600 2.300 2.300 0 0 0 0 4.600z',
};

// Decoration: what it means is always said in words beside it, or in the button's name.
export function icon(name) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 20 20');
    svg.setAttribute('class', 'icon');
    svg.setAttribute('aria-hidden', 'true');
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
}

// The mark: a hinge, two leaves on one pin.
export function brandMark() {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('class', 'mark');
    svg.setAttribute('aria-hidden', 'true');
    for (const [d, part] of [['M9.500 4.500H5A1.500 1.500 0 0 0 3.500 6v12A1.500 1.500 0 0 0 5 19.500h4.500zM14.500 4.500H19A1.500 1.500 0 0 1 20.500 6v12a1.500 1.500 0 0 1-1.500 1.500h-4.500z', 'leaf'],
        ['M12 2a1.900 1.900 0 0 1 1.900 1.900v16.200a1.900 1.900 0 0 1-3.800 0V3.900A1.900 1.900 0 0 1 12 2z', 'pin']]) {
        const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
        path.setAttribute('d', d);
        path.setAttribute('class', part);
        svg.append(path);
    }
    return svg;
}

export function button(label, props = {}, iconName = null) {
    return h('button', { type: 'button', class: 'button', ...props }, iconName && icon(iconName), h('span', {}, label));
}

// A button that was disabled while it worked has lost the focus, and a keyboard its place.
export function enableAgain(node) {
    node.disabled = false;
    if (document.activeElement === document.body)
        node.focus({ preventScroll: true });    // what has to be read was scrolled to already
}

// A button that shows only an icon, and a word beside it where there is room (in cards); its name is what a screen
// reader and the tooltip say.
export function iconButton(iconName, label, props = {}, word = null) {
    return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, ...props }, icon(iconName),
        word && h('span', { class: 'word' }, word));
}

export function badge(kind, text, iconName = null) {
    return h('span', { class: `badge ${kind}` }, iconName && icon(iconName), text);
}

export function callout(kind, ...children) {
    return h('div', { class: `callout ${kind}`, role: kind === 'danger' ? 'alert' : null },
        icon(kind === 'info' ? 'info' : 'warning'), h('div', {}, ...children));
}

// For screen readers only. Each message is a node of its own in a region that is always there: so none is missed, none
// cuts off the one before, and the same words said twice are read twice.
export function announce(text) {
    const message = h('p', {}, text);
    document.getElementById('announcer').append(message);
    setTimeout(() => message.remove(), 8000);
}

// Good news goes away by itself; what went wrong stays until it is dismissed.
export function toast(text, kind = 'good') {
    const node = h('div', { class: `toast ${kind}`, role: kind === 'bad' ? 'alert' : null },
        icon(kind === 'bad' ? 'warning' : 'check'), h('p', {}, text),
        iconButton('close', 'Dismiss message', { onclick: () => node.remove() }));
    const toasts = document.getElementById('toasts');
    while (toasts.childElementCount > 2)
        toasts.firstElementChild.remove();
    toasts.append(node);
    if (kind === 'good') {
        announce(text);
        setTimeout(() => node.remove(), 6000);
    }
}

export function clearToasts() {
    document.getElementById('toasts').replaceChildren();
}

let lastId = 0;
export function newId(prefix) {
    lastId += 1;
    return `${prefix}-${lastId}`;
}
