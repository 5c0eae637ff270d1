/** SETTINGS: what each end tells the other about itself. RFC 9113 section 6.5. */
import {
  defaultWindowBytes,
  errorCode,
  maxMaxFrameBytes,
  maxWindowBytes,
  minMaxFrameBytes,
  readUint32,
  writeUint32,
} from './frames.ts'

export const setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
  /** RFC 9218 section 2.1. */
  noPriorities: 9,
} as const

/** One setting and its value; a list of them is a SETTINGS frame. */
export type Setting = readonly [id: number, value: number]

/** What the peer has told us; its defaults before it has. */
export interface PeerSettings {
  headerTableSize: number
  maxConcurrentStreams: number
  initialWindowSize: number
  maxFrameSize: number
  maxHeaderListSize: number
  enableConnectProtocol: boolean
}

export function defaultPeerSettings(): PeerSettings {
  return {
    headerTableSize: 4096,
    maxConcurrentStreams: Infinity,
    initialWindowSize: defaultWindowBytes,
    maxFrameSize: minMaxFrameBytes,
    maxHeaderListSize: Infinity,
    enableConnectProtocol: false,
  }
}

/** A fault of the connection: what GOAWAY will say, and why. */
export interface SettingsFault {
  readonly code: number
  readonly reason: string
}

/**
 * Takes over what a SETTINGS payload says. Unknown settings are ignored.
 *
 * @param fromServer a server must not say that it accepts pushes
 */
export function applySettings(
  settings: PeerSettings,
  bytes: Uint8Array,
  start: number,
  end: number,
  fromServer: boolean,
): SettingsFault | undefined {
  for (let at = start; at < end; at += 6) {
    const value = readUint32(bytes, at + 2)
    switch ((bytes[at]! << 8) | bytes[at + 1]!) {
      case setting.headerTableSize:
        settings.headerTableSize = value
        break
      case setting.enablePush:
        if (value > 1 || (fromServer && value === 1)) return invalid('SETTINGS_ENABLE_PUSH')
        break
      case setting.maxConcurrentStreams:
        settings.maxConcurrentStreams = value
        break
      case setting.initialWindowSize:
        if (value > maxWindowBytes)
          return { code: errorCode.flowControl, reason: 'invalid SETTINGS_INITIAL_WINDOW_SIZE' }
        settings.initialWindowSize = value
        break
      case setting.maxFrameSize:
        if (value < minMaxFrameBytes || value > maxMaxFrameBytes) return invalid('SETTINGS_MAX_FRAME_SIZE')
        settings.maxFrameSize = value
        break
      case setting.maxHeaderListSize:
        settings.maxHeaderListSize = value
        break
      case setting.enableConnectProtocol:
        // RFC 8441 section 3: 0 or 1, and never back to 0.
        if (value > 1 || (settings.enableConnectProtocol && value === 0))
          return invalid('SETTINGS_ENABLE_CONNECT_PROTOCOL')
        settings.enableConnectProtocol = value === 1
        break
    }
  }
  return undefined
}

/** Writes the payload of a SETTINGS frame: six octets each. */
export function writeSettings(bytes: Uint8Array, at: number, settings: readonly Setting[]): void {
  for (const [id, value] of settings) {
    bytes[at] = id >>> 8
    bytes[at + 1] = id
    writeUint32(bytes, at + 2, value)
    at += 6
  }
}

function invalid(name: string): SettingsFault {
  return { code: errorCode.protocol, reason: `invalid ${name}` }
}
