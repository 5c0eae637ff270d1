/**
 * "Nobody is served here", as an answer to a client's first packet.
 *
 * quiche 0.18 cannot say it: it would close with a Handshake packet, before the client has the keys to read one. The keys
 * of Initial packets follow from the id that the client has made up, so the answer needs no connection.
 *
 * @see RFC 9001 sections 5.2 to 5.4 and appendix A.3; RFC 9000 sections 17.2.2 and 19.19
 */
import { createCipheriv, createHmac } from 'node:crypto'

/** The version that the salt below is for. */
export const refusableVersion = 1
const versionBytes = [0, 0, 0, refusableVersion]
const initialSalt = Buffer.from('38762cf7f55934b34d179ae6a4c80cadccbb7f0a', 'hex')
/** CONNECTION_CLOSE with CONNECTION_REFUSED, of no frame's making, without a reason. */
const closing = Buffer.from([0x1c, 0x02, 0x00, 0x00])
const tagBytes = 16
/** Long header, Initial, packet number of one byte. */
const firstByte = 0xc0
const packetNumber = 0

/**
 * @param theirs the id that the client calls itself by
 * @param chosen the id that the client has made up for us
 * @param own by which we call ourselves
 */
export function refusal(theirs: Uint8Array, chosen: Uint8Array, own: Uint8Array): Buffer {
  const secret = expand(hmac(initialSalt, chosen), 'server in', 32)
  const head = Buffer.from([
    firstByte,
    ...versionBytes,
    theirs.length,
    ...theirs,
    own.length,
    ...own,
    0, // no token
    1 + closing.length + tagBytes, // a variable-length integer below 64
    packetNumber,
  ])
  // The nonce is the IV and the packet number, which is 0.
  const cipher = createCipheriv('aes-128-gcm', expand(secret, 'quic key', 16), expand(secret, 'quic iv', 12))
  cipher.setAAD(head)
  const sealed = Buffer.concat([cipher.update(closing), cipher.final(), cipher.getAuthTag()])
  const numberBytes = 1
  const sample = sealed.subarray(4 - numberBytes, 20 - numberBytes)
  const mask = createCipheriv('aes-128-ecb', expand(secret, 'quic hp', 16), null).update(sample)
  head[0]! ^= mask[0]! & 0x0f
  head[head.length - 1]! ^= mask[1]!
  return Buffer.concat([head, sealed])
}

/** HKDF-Expand-Label without a context, of at most one block. RFC 8446 section 7.1, RFC 5869 section 2.3. */
function expand(secret: Uint8Array, label: string, bytes: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([Buffer.from([0, bytes, name.length]), name, Buffer.from([0, 1])])
  return hmac(secret, info).subarray(0, bytes)
}

function hmac(key: Uint8Array, data: Uint8Array): Buffer {
  return createHmac('sha256', key).update(data).digest()
}
