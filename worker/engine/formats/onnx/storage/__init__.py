"""ONNX files on disk: parse a small skeleton, leave the weights in the file, and write both back.

A parsed ModelProto copies every weight several times. So the wire format is rewritten before it is
parsed: each large tensor of the main graph becomes external data whose file is the model itself.
Every ONNX library maps such data into memory when it reads it. All other bytes stay as they are.
So do the bodies of Ifs and Loops: ONNX Runtime refuses external data there from a file with several
hard links, and the service stores its files that way.

Source: onnx.proto and ONNX's ExternalData.md.
"""
