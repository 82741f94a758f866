'use strict'; // before anything is drawn: what needs no script is for those who have none
document.documentElement.className = 'ok';
