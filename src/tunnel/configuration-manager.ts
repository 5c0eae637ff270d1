import { readData, readInt32, readStruct, readText } from './capnp-reader.ts'
import { writeData, writeInt32, writeStruct, writeText } from './capnp-writer.ts'
import { type RpcMethod } from './rpc-method.ts'

/** A configuration that the edge pushes. */
export interface UpdateConfigurationParams {
  readonly version: number
  /** JSON. */
  readonly config: Uint8Array
}

export interface UpdateConfigurationResponse {
  readonly latestAppliedVersion: number
  /** Empty when the configuration was taken. */
  readonly error: string
}

/**
 * ConfigurationManager, which the connector serves on RPC streams of QUIC. Params, 1+1: version i32@0, config data #0.
 * Results, 0+1: UpdateConfigurationResponse #0, 1+1: latestAppliedVersion i32@0, err text #0.
 *
 * @see cloudflared, tunnelrpc/proto/tunnelrpc.capnp
 */
export const updateConfiguration: RpcMethod<UpdateConfigurationParams, UpdateConfigurationResponse> = {
  name: 'update_configuration',
  interfaceId: 0xb48edfbdaa25db04n,
  methodId: 0,
  writeParams(payload, { version, config }) {
    const params = writeStruct(payload, 0, 1, 1)
    writeInt32(params, 0, version)
    writeData(params, 0, config)
  },
  readParams(params) {
    return { version: readInt32(params, 0), config: readData(params, 0) }
  },
  writeResults(payload, { latestAppliedVersion, error }) {
    const response = writeStruct(writeStruct(payload, 0, 0, 1), 0, 1, 1)
    writeInt32(response, 0, latestAppliedVersion)
    writeText(response, 0, error)
  },
  readResults(results) {
    const response = readStruct(results, 0)
    return { latestAppliedVersion: readInt32(response, 0), error: readText(response, 0) }
  },
}
