package follow

const Silence = silence
