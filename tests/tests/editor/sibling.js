/** @param {string} language */
export const greeting = (language) => `user/greeting-${language}.wav`;
