// Preloaded: the device does not open, for the reason in the environment, and the system is NetBSD.
import { MockSystem } from '../../lib/mock-system.js';

Object.defineProperty(process, 'platform', { value: 'netbsd' });
MockSystem.shared().failRequest({ request: 'open', errno: process.env['ERRNO']! });
