const data = vars();
if (vars.cli) exit({ cli: data.cli });
else err([404, 'Not Found']);
