// Preloaded: all machines of the system are in use.
import { MockSystem } from '../../lib/mock-system.js';

MockSystem.shared().failRequest({ request: 'MACHINE_CREATE', errno: 'ENOBUFS' });
